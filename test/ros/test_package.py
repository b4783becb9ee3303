"""The package as others see it: dependencies, installed files, launch file, parameters, what is imported."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict, fields
from pathlib import Path

import pytest
import yaml

from h2onet_ros.ros.environment import config_path, local_environment
from h2onet_ros.ros.parameters import NodeParameters

CHECKOUT = Path(__file__).resolve().parents[2]
ROS_PACKAGES = {path.parent.name for path in CHECKOUT.glob("*_msgs/package.xml")} | {
    "builtin_interfaces",
    "diagnostic_msgs",
    "geometry_msgs",
    "lifecycle_msgs",
    "rcl_interfaces",
    "rclpy",
    "sensor_msgs",
    "std_msgs",
    "std_srvs",
    "tf2_msgs",
    "visualization_msgs",
}
DISTRIBUTIONS = {"PIL": "pillow", "cv2": "opencv-python-headless", "ruamel": "ruamel.yaml"}
# Imported only where they are asked for: by the training side, and by engines that somebody chose.
OPTIONAL = {
    "nncf": "int8",
    "onnx": "train",
    "openvino": "openvino",
    "pyarrow": "evaluate",
    "ray": "ray",
    "safetensors": "train",
    "torch": "train",
}


def imported_modules(folder: Path) -> set[str]:
    """Names of the modules outside of the standard library that the Python files below import."""
    names: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names.add(node.module)
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"h2onet_ros"}


def dependencies(package: Path) -> set[str]:
    root = ElementTree.parse(package / "package.xml").getroot()
    return {child.text or "" for child in root if child.tag.endswith("depend")}


@pytest.fixture(scope="module")
def setup_arguments() -> dict:
    """What setup.py hands to setuptools."""
    program = (
        "import json, runpy, setuptools\n"
        "setuptools.setup = lambda **arguments: print(json.dumps(arguments))\n"
        "runpy.run_path('setup.py')"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def requirement_names(requirements: list[str]) -> set[str]:
    return {requirement.split(">")[0].split("=")[0] for requirement in requirements}


def test_package_xml_names_every_ros_package_that_is_imported():
    imported = imported_modules(CHECKOUT / "h2onet_ros")
    assert (imported & ROS_PACKAGES) <= dependencies(CHECKOUT)


def test_setup_py_names_every_other_package_that_is_imported(setup_arguments):
    imported = imported_modules(CHECKOUT / "h2onet_ros") - ROS_PACKAGES
    required = requirement_names(setup_arguments["install_requires"])
    for name in imported:
        if name in OPTIONAL:
            extra = requirement_names(setup_arguments["extras_require"][OPTIONAL[name]])
            assert name in extra
        else:
            assert DISTRIBUTIONS.get(name, name) in required


def test_both_packages_have_the_version_of_setup_py(setup_arguments):
    for package in (CHECKOUT, CHECKOUT / "h2onet_msgs"):
        root = ElementTree.parse(package / "package.xml").getroot()
        assert root.findtext("version") == setup_arguments["version"]
        assert root.findtext("license") == setup_arguments["license"] == "Apache-2.0"


def test_the_messages_are_built_from_what_they_depend_on():
    text = (CHECKOUT / "h2onet_msgs" / "CMakeLists.txt").read_text()
    for path in (CHECKOUT / "h2onet_msgs" / "msg").glob("*.msg"):
        assert f'"msg/{path.name}"' in text
        fields = [line.split()[0] for line in path.read_text().splitlines() if line and line[0] != "#"]
        used = {field.split("/")[0] for field in fields if "/" in field}
        assert used <= dependencies(CHECKOUT / "h2onet_msgs")


def test_all_that_ros_looks_for_is_installed(setup_arguments):
    installed = {file for _, files in setup_arguments["data_files"] for file in files}
    for pattern in ("launch/*.launch.py", "config/*.yaml", "config/*.rviz", "config/*.xml"):
        found = {str(path.relative_to(CHECKOUT)) for path in CHECKOUT.glob(pattern)}
        assert found and found <= installed
    assert {"resource/h2onet_ros", "package.xml"} <= installed


def test_all_assets_are_installed(setup_arguments):
    assets = CHECKOUT / "h2onet_ros" / "assets"
    found = {str(path.relative_to(assets.parent)) for path in assets.rglob("*") if path.is_file()}
    assert found and found <= set(setup_arguments["package_data"]["h2onet_ros"])


def test_every_program_exists(setup_arguments):
    for entry in setup_arguments["entry_points"]["console_scripts"]:
        module, function = entry.split(" = ")[1].split(":")
        tree = ast.parse((CHECKOUT / (module.replace(".", "/") + ".py")).read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_parameter_file_holds_every_parameter_with_its_default():
    document = yaml.safe_load(config_path("hand.yaml").read_text())
    assert document == {"/**": {"ros__parameters": asdict(NodeParameters())}}
    for name, value in document["/**"]["ros__parameters"].items():
        assert type(value) is type(getattr(NodeParameters(), name)), name


def test_the_rviz_layout_shows_the_topics_of_the_node():
    displays = yaml.safe_load(config_path("hand.rviz").read_text())["Visualization Manager"]["Displays"]
    topics = {display["Topic"]["Value"] for display in displays if "Topic" in display}
    assert topics == {f"/hand_mesh_node/{name}" for name in ("markers", "points", "overlay")}


@pytest.mark.parametrize("name", ["hand", "demo", "bag"])
def test_ros2_launch_understands_the_launch_files(name):
    launch = pytest.importorskip("launch", reason="the launch library comes with an ordinary ROS 2 only")
    if not hasattr(launch, "LaunchDescription"):
        pytest.skip("the launch library comes with an ordinary ROS 2 only")
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    path = str(CHECKOUT / "launch" / f"{name}.launch.py")
    description = get_launch_description_from_python_launch_file(path)
    assert "engine" in {argument.name for argument in description.get_launch_arguments()}


def test_the_node_never_imports_pytorch():
    program = (
        "import sys\n"
        "sys.modules['torch'] = None\n"  # importing it would fail
        "import h2onet_ros.ros.hand_node, h2onet_ros.ros.node\n"
        "import h2onet_ros.engines.onnxruntime\n"
        "heavy = {'onnx', 'openvino', 'scipy', 'torch', 'train'}\n"
        "print(sorted(name for name in heavy if sys.modules.get(name)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_nothing_below_ros_knows_ros():
    for folder in ("hand", "model", "engines", "perception", "bag"):
        assert not imported_modules(CHECKOUT / "h2onet_ros" / folder) & ROS_PACKAGES, folder


class TestLocalEnvironment:
    def test_keeps_dds_on_this_machine_with_room_for_images(self):
        environment = local_environment({"HOME": "/home/me"}, domain_id=42)
        assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
        assert environment["ROS_DOMAIN_ID"] == "42"
        profile = Path(environment["FASTDDS_DEFAULT_PROFILES_FILE"])
        names = {element.tag.split("}")[1]: element.text for element in ElementTree.parse(profile).iter()}
        assert int(names["segment_size"]) >= 4 * int(names["maxMessageSize"]) >= 4 * 1920 * 1080 * 3

    def test_leaves_what_the_user_chose(self):
        own = {"FASTRTPS_DEFAULT_PROFILES_FILE": "own.xml", "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}
        environment = local_environment(own)
        assert environment == own

    def test_lets_the_child_find_its_own_libraries(self):
        assert "_ROS_WHEELS_BOOTSTRAP_COMPLETE" not in local_environment(
            {"_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1"}
        )


def test_a_file_that_is_not_installed_is_told_of():
    with pytest.raises(FileNotFoundError, match="source the workspace"):
        config_path("no_such_file.yaml")


def test_the_documentation_lists_every_parameter_with_default_and_range():
    text = (CHECKOUT / "docs" / "node.md").read_text().split("\n## Parameters\n")[1].split("\n## ")[0]
    rows = [[cell.strip(" `") for cell in line.split("|")[1:4]] for line in text.splitlines()]
    listed = [tuple(row) for row in rows if row and row[0] in asdict(NodeParameters())]
    expected = []
    for parameter in fields(NodeParameters):
        low, high = parameter.metadata["range"]
        span = "" if low is None else f"{low} to {high}"
        expected.append((parameter.name, json.dumps(parameter.default), span))
    assert listed == expected
