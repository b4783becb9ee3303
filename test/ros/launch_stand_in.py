"""What of ROS's `launch` and `launch_ros` the launch files use, for machines where they are not installed.

They are not on PyPI. The classes here take the same arguments, by the same names, and refuse others.
Running a launch file gives the commands that `ros2 launch` would start.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


class LaunchError(Exception):
    """What `ros2 launch` would refuse."""


class Context:
    def __init__(self) -> None:
        self.launch_configurations: dict[str, str] = {}
        self.environment: dict[str, str] = {}


class Substitution:
    def perform(self, context: Context) -> str:
        raise NotImplementedError


def text(value: Any, context: Context) -> str:
    """A string, a substitution, or a list of both."""
    if isinstance(value, Substitution):
        return value.perform(context)
    if isinstance(value, (list, tuple)):
        return "".join(text(part, context) for part in value)
    if not isinstance(value, str):
        raise LaunchError(f"expected a string or a substitution, got {value!r}")
    return value


@dataclass
class LaunchConfiguration(Substitution):
    name: str

    def perform(self, context: Context) -> str:
        if self.name not in context.launch_configurations:
            raise LaunchError(f"launch configuration {self.name!r} does not exist")
        return context.launch_configurations[self.name]


@dataclass
class PathJoinSubstitution(Substitution):
    parts: list

    def perform(self, context: Context) -> str:
        return str(Path(*(text(part, context) for part in self.parts)))


@dataclass
class FindPackageShare(Substitution):
    package: str

    def perform(self, context: Context) -> str:
        assert self.package == "h2onet_ros"
        return str(CHECKOUT)


@dataclass
class IfCondition:
    value: Any

    def holds(self, context: Context) -> bool:
        said = text(self.value, context).lower()
        if said not in ("true", "false", "1", "0"):
            raise LaunchError(f"expected true or false, got {said!r}")
        return said in ("true", "1")


@dataclass
class LaunchDescription:
    entities: list


class DeclareLaunchArgument:
    def __init__(self, name: str, *, default_value=None, description: str, choices=None) -> None:
        self.name, self.default, self.description, self.choices = name, default_value, description, choices

    def execute(self, context: Context) -> Iterator[Any]:
        if self.name not in context.launch_configurations:
            if self.default is None:
                raise LaunchError(f"the argument {self.name} was not given")
            context.launch_configurations[self.name] = text(self.default, context)
        value = context.launch_configurations[self.name]
        if self.choices is not None and value not in self.choices:
            raise LaunchError(f"argument {self.name}: {value!r} is not in {self.choices}")
        return iter(())


@dataclass
class OpaqueFunction:
    function: Any

    def execute(self, context: Context) -> Iterator[Any]:
        yield from self.function(context) or []


@dataclass
class SetEnvironmentVariable:
    name: str
    value: Any

    def execute(self, context: Context) -> Iterator[Any]:
        context.environment[self.name] = text(self.value, context)
        return iter(())


@dataclass
class PythonLaunchDescriptionSource:
    location: Any


class IncludeLaunchDescription:
    def __init__(self, source: PythonLaunchDescriptionSource, *, launch_arguments=()) -> None:
        self.source, self.arguments = source, tuple(launch_arguments)

    def execute(self, context: Context) -> Iterator[Any]:
        description = load(Path(text(self.source.location, context)))
        for name, value in self.arguments:
            context.launch_configurations[name] = text(value, context)
        yield from description.entities


@dataclass
class Node:
    package: str
    executable: str
    name: str = ""
    namespace: str = ""
    output: str = "log"
    arguments: list = field(default_factory=list)
    parameters: list = field(default_factory=list)
    remappings: list = field(default_factory=list)
    condition: IfCondition | None = None

    def execute(self, context: Context) -> Iterator[Any]:
        if self.condition is None or self.condition.holds(context):
            self.arguments = [text(part, context) for part in self.arguments]
            context.processes.append(self)  # type: ignore[attr-defined]
        return iter(())

    @property
    def ros_arguments(self) -> list[str]:
        """What follows `--ros-args` on the command line."""
        given = ["-r", f"__node:={self.name}"] if self.name else []
        if self.namespace:
            given += ["-r", f"__ns:=/{self.namespace.strip('/')}"]
        for parameter in self.parameters:
            if isinstance(parameter, dict):
                for name, value in parameter.items():
                    given += ["-p", f"{name}:={str(value).lower() if isinstance(value, bool) else value}"]
            else:
                given += ["--params-file", parameter]
        for before, after in self.remappings:
            given += ["-r", f"{before}:={after}"]
        return given


@dataclass
class LifecycleNode(Node):
    def __post_init__(self) -> None:
        # launch_ros wants both of a LifecycleNode.
        assert self.name and isinstance(self.namespace, str)


@dataclass
class ExecuteProcess:
    cmd: list
    output: str = "log"

    def execute(self, context: Context) -> Iterator[Any]:
        self.cmd = [text(part, context) for part in self.cmd]
        context.processes.append(self)  # type: ignore[attr-defined]
        return iter(())


class Shutdown:
    pass


@dataclass
class OnProcessExit:
    target_action: Any
    on_exit: list


@dataclass
class RegisterEventHandler:
    handler: OnProcessExit

    def execute(self, context: Context) -> Iterator[Any]:
        assert isinstance(self.handler.target_action, (Node, ExecuteProcess))
        return iter(())


def load(path: Path) -> LaunchDescription:
    """What the launch file describes."""
    specification = importlib.util.spec_from_file_location(path.name.replace(".", "_"), path)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.generate_launch_description()


def run(path: Path, **arguments: str) -> tuple[list[Any], Context]:
    """The processes that `ros2 launch <path> name:=value ...` would start, and where."""
    description = load(path)
    known = {e.name for e in description.entities if isinstance(e, DeclareLaunchArgument)}
    if unknown := arguments.keys() - known:
        raise LaunchError(f"unknown arguments: {', '.join(unknown)}")
    context = Context()
    context.launch_configurations = dict(arguments)
    context.processes = []  # type: ignore[attr-defined]
    waiting = list(description.entities)
    while waiting:
        waiting[:0] = list(waiting.pop(0).execute(context))
    return context.processes, context  # type: ignore[attr-defined]


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the imports of the launch files find what is above."""
    contents = {
        "launch": (LaunchDescription,),
        "launch.actions": (
            DeclareLaunchArgument,
            ExecuteProcess,
            IncludeLaunchDescription,
            OpaqueFunction,
            RegisterEventHandler,
            SetEnvironmentVariable,
            Shutdown,
        ),
        "launch.conditions": (IfCondition,),
        "launch.event_handlers": (OnProcessExit,),
        "launch.launch_description_sources": (PythonLaunchDescriptionSource,),
        "launch.substitutions": (LaunchConfiguration, PathJoinSubstitution),
        "launch_ros": (),
        "launch_ros.actions": (LifecycleNode, Node),
        "launch_ros.substitutions": (FindPackageShare,),
    }
    for name, members in contents.items():
        module = types.ModuleType(name)
        for member in members:
            setattr(module, member.__name__, member)
        monkeypatch.setitem(sys.modules, name, module)
