"""Parameters of a running node: what may change when, what is refused and why, and nonsense in numbers."""

from __future__ import annotations

import math
from dataclasses import asdict, fields

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, ListParameters
from rclpy.parameter import Parameter
from visualization_msgs.msg import MarkerArray

from h2onet_ros.ros.parameters import (
    LIVE,
    NodeParameters,
    ParameterError,
    changed_parameters,
    pipeline_config,
)

DEFAULTS = asdict(NodeParameters())
CHANGED_HERE = {"max_wait_s": 1.0, "camera_info_wait_s": 0.0}
"""What the shared node is started with."""


@pytest.fixture
def settings_of(conversation):
    """The shared node, which gets its parameters back afterwards."""
    yield conversation
    live = [field.name for field in fields(NodeParameters) if field.metadata["when"] == LIVE]
    values = {name: (DEFAULTS | CHANGED_HERE)[name] for name in live}
    assert all(result.successful for result in conversation.peer.set(**values))
    assert conversation.peer.wait_until(lambda: conversation.dialogue.images.get_subscription_count() > 0)


def test_every_parameter_is_described(conversation):
    peer = conversation.peer
    listed = peer.call(ListParameters, "/hand_mesh_node/list_parameters").result.names
    assert set(DEFAULTS) <= set(listed)
    request = DescribeParameters.Request(names=list(DEFAULTS))
    answers = peer.call(DescribeParameters, "/hand_mesh_node/describe_parameters", request).descriptors
    for parameter, answer in zip(fields(NodeParameters), answers, strict=True):
        assert answer.description.endswith(".") and answer.name == parameter.name
        low, high = parameter.metadata["range"]
        spans = [*answer.integer_range, *answer.floating_point_range]
        assert [(span.from_value, span.to_value) for span in spans] == ([] if low is None else [(low, high)])
        for choice in parameter.metadata["choices"]:
            assert choice in answer.additional_constraints


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("max_hands", 9, "max_hands"),
        ("smoothing", -1.0, "smoothing"),
        ("smoothing", math.nan, "nan"),
        ("max_hands", 2.0, "Wrong parameter type"),
        ("engine", "onnxruntime", "ros2 lifecycle set <node> deactivate"),
        ("precision", "float32", "ros2 lifecycle set <node> deactivate"),
        ("threads", 2, "ros2 lifecycle set <node> deactivate"),
        ("autostart", False, "read-only"),
        ("hand_length", 0.01, "hand_length: expected 0.05 to 0.4 metres, got 0.01"),
        ("regions", "oracle", "expected detector, topic or detections, got 'oracle'"),
        ("input_reliability", "", "expected auto, reliable or best_effort"),
        ("regions", "detections", "vision-msgs"),
    ],
)
def test_changes_that_cannot_be_made_are_refused_with_the_reason(conversation, name, value, reason):
    before = conversation.peer.get(name)
    (result,) = conversation.peer.set(**{name: value})
    assert not result.successful and reason in result.reason
    assert conversation.peer.get(name) == before


def test_publishing_switches_act_at_once(settings_of, hand_frames):
    peer, dialogue = settings_of.peer, settings_of.dialogue
    dialogue.send_info(640, 360)
    markers = peer.collect(MarkerArray, "/hand_mesh_node/markers")
    for rgb in hand_frames[:3]:
        answer = dialogue.ask(rgb)
    assert answer.hands[0].vertices
    assert peer.wait_until(lambda: bool(markers))

    switches = {"publish_vertices": False, "publish_markers": False, "publish_overlay": False}
    assert all(r.successful for r in peer.set(**switches))
    answer = dialogue.ask(hand_frames[3])
    assert answer.hands and not answer.hands[0].vertices
    gone = ("markers", "overlay", "overlay/compressed")
    assert peer.wait_until(
        lambda: not any(peer.node.count_publishers(f"/hand_mesh_node/{name}") for name in gone)
    )

    markers.clear()
    assert peer.set(publish_markers=True)[0].successful
    assert peer.wait_until(lambda: bool(peer.node.count_publishers("/hand_mesh_node/markers")))

    def has_markers() -> bool:
        dialogue.ask(hand_frames[4])
        return bool(markers)

    assert peer.wait_until(has_markers)


def test_smoothing_and_number_of_hands_change_without_losing_the_hand(settings_of, hand_frames):
    peer, dialogue = settings_of.peer, settings_of.dialogue
    dialogue.send_info(640, 360)
    for rgb in hand_frames[:5]:
        first = dialogue.ask(rgb)
    assert all(r.successful for r in peer.set(smoothing=0.0, max_hands=1, hand_scale=1.2))
    for rgb in hand_frames[5:8]:
        second = dialogue.ask(rgb)
    assert [hand.track_id for hand in second.hands] == [hand.track_id for hand in first.hands]
    # A hand 1.2 times as large looks the same 1.2 times as far away.
    assert second.hands[0].wrist.position.z == pytest.approx(1.2 * first.hands[0].wrist.position.z, rel=0.1)


def test_the_assumed_field_of_view_acts_at_once(settings_of, hand_frames):
    peer, dialogue = settings_of.peer, settings_of.dialogue
    dialogue.send_info(640, 360, focal=0.0)
    depths = {}
    for degrees in (60.0, 90.0):
        assert peer.set(assumed_field_of_view_deg=degrees, smoothing=0.0)[0].successful
        for rgb in hand_frames[:4]:
            dialogue.stamp += 10**10
            answer = dialogue.ask(rgb)
        depths[degrees] = answer.hands[0].wrist.position.z
    ratio = math.tan(math.radians(45)) / math.tan(math.radians(30))
    assert depths[60.0] == pytest.approx(ratio * depths[90.0], rel=0.1)


VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-2, 20),
    st.floats(),
    st.floats(-1, 4),
    st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=20),
    st.sampled_from(["auto", "reliable", "best_effort", "detector", "topic", "none", "wrist", "joints"]),
    st.lists(st.floats(), max_size=3),
    st.none(),
)
NAMES = st.sampled_from([*DEFAULTS, "use_sim_time", "no_such_parameter"])


def to_message(name: str, value: object) -> ParameterMessage:
    if value is None:
        return ParameterMessage(name=name, value=ParameterValue(type=ParameterType.PARAMETER_NOT_SET))
    kind = Parameter.Type.DOUBLE_ARRAY if value == [] else Parameter.Type.from_parameter_value(value)
    return Parameter(name, kind, value).to_parameter_msg()


def test_any_parameter_may_be_set_to_anything(settings_of, hand_frames):
    conversation = settings_of

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.lists(st.tuples(NAMES, VALUES), min_size=5, max_size=15))
    def fuzz(changes) -> None:
        # What is read at the next configuration would be refused anyhow; the camera's topic must stay.
        messages = [to_message(name, value) for name, value in changes if name != "use_sim_time"]
        results = conversation.peer.set_messages(messages)
        assert len(results) == len(messages)
        assert all(result.successful or result.reason for result in results)

    fuzz()
    values = DEFAULTS | CHANGED_HERE
    for field in fields(NodeParameters):
        got = conversation.peer.get(field.name)
        assert type(got) is type(field.default), field.name
        if field.metadata["when"] == LIVE:
            assert conversation.peer.set(**{field.name: values[field.name]})[0].successful
    dialogue = conversation.dialogue
    assert conversation.peer.wait_until(lambda: dialogue.images.get_subscription_count() > 0)
    dialogue.send_info(640, 360)
    for rgb in hand_frames[:4]:
        answer = dialogue.ask(rgb)
    assert len(answer.hands) == 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(NAMES, VALUES), max_size=8), st.booleans())
def test_whatever_is_accepted_is_something_to_work_with(changes, is_configured):
    """rclpy has checked types and ranges by then, but not NaN, choices and the moment."""
    usable = []
    for name, value in changes:
        if name in DEFAULTS and type(value) is type(DEFAULTS[name]):
            field = next(field for field in fields(NodeParameters) if field.name == name)
            low, high = field.metadata["range"]
            if low is None or not (value < low or value > high):
                usable.append(Parameter(name, value=value))
    try:
        after = changed_parameters(NodeParameters(), usable, is_configured)
        pipeline_config(after)
    except ParameterError as error:
        assert "expected" in str(error) or "ros2 lifecycle" in str(error)
        return
    for field in fields(NodeParameters):
        low, high = field.metadata["range"]
        assert low is None or low <= getattr(after, field.name) <= high
