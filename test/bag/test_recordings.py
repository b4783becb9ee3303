"""Recordings: what is written comes back, also after a kill, a full disk or damage."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode

from h2onet_ros.bag.errors import BagError, DiskFullError
from h2onet_ros.bag.message_types import HAND_ARRAY, MESH_TOPOLOGY, create_typestore
from h2onet_ros.bag.reader import BagReader
from h2onet_ros.bag.writer import BagWriter

TOPIC = "/hand_mesh_node/hands"


def write_with_rosbags(folder, messages, plugin=StoragePlugin.MCAP, mode=None, topic=TOPIC):
    writer = Writer(folder, version=9, storage_plugin=plugin)
    if mode:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection(topic, HAND_ARRAY, typestore=create_typestore())
        for time_ns, data in messages:
            writer.write(connection, time_ns, data)


@pytest.fixture
def hands(maker):
    return [(1_000_000 * index, maker.hands(index)) for index in range(40)]


@pytest.fixture
def written(tmp_path, hands):
    """A recording of 40 messages in 4 chunks."""
    path = tmp_path / "hands.mcap"
    with BagWriter(path) as writer:
        writer.add_topic("/topology", MESH_TOPOLOGY, latched=True)
        writer.add_topic(TOPIC, HAND_ARRAY)
        for index, (time_ns, data) in enumerate(hands):
            writer.write(TOPIC, time_ns, data)
            if index % 10 == 9:
                writer.flush()
    return path


def read(path):
    with BagReader(path) as reader:
        return [(message.time, message.data) for message in reader.messages([TOPIC])], reader.warnings


def test_messages_come_back_as_written(written, hands):
    assert read(written) == (hands, [])


def test_rosbags_reads_what_the_writer_wrote(written, hands, maker):
    with Reader(written) as reader:
        assert {name: info.msgcount for name, info in reader.topics.items()} == {"/topology": 0, TOPIC: 40}
        assert [(time_ns, bytes(data)) for _, time_ns, data in reader.messages()] == hands
        definition = reader.topics[TOPIC].msgdef.data
        assert reader.start_time == 0 and reader.end_time == 39_000_001
    assert definition == maker.store.generate_msgdef(HAND_ARRAY, ros_version=2)[0]


def test_latched_topics_are_played_as_transient_local(written):
    with Reader(written) as reader:
        (profile,) = reader.topics["/topology"].connections[0].ext.offered_qos_profiles
    assert profile.durability.name == "TRANSIENT_LOCAL"


def test_messages_of_several_topics_are_in_order_of_time(tmp_path, maker):
    path = tmp_path / "two.mcap"
    with BagWriter(path) as writer:
        for topic in "/a", "/b":
            writer.add_topic(topic, HAND_ARRAY)
        for time_ns, topic in (5, "/a"), (3, "/b"), (4, "/a"), (9, "/b"), (7, "/a"):
            writer.write(topic, time_ns, maker.hands(time_ns))
    with BagReader(path) as reader:
        assert [message.time for message in reader.messages()] == [3, 4, 5, 7, 9]
        assert [message.time for message in reader.messages(["/a"])] == [4, 5, 7]


@pytest.mark.parametrize(
    ("plugin", "mode"),
    [
        (StoragePlugin.MCAP, None),
        (StoragePlugin.MCAP, CompressionMode.STORAGE),
        (StoragePlugin.MCAP, CompressionMode.MESSAGE),
        (StoragePlugin.SQLITE3, None),
        (StoragePlugin.SQLITE3, CompressionMode.FILE),
        (StoragePlugin.SQLITE3, CompressionMode.MESSAGE),
    ],
)
def test_rosbag2_folders_of_every_kind_are_read(tmp_path, hands, plugin, mode):
    write_with_rosbags(tmp_path / "bag", hands, plugin, mode)
    assert read(tmp_path / "bag") == (hands, [])


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_single_files_and_folders_without_metadata_are_read(tmp_path, hands, plugin):
    write_with_rosbags(tmp_path / "bag", hands, plugin)
    (tmp_path / "bag" / "metadata.yaml").unlink()
    (file,) = (tmp_path / "bag").iterdir()
    assert read(file) == (hands, [])
    assert read(tmp_path / "bag") == (hands, [])
    with BagReader(tmp_path / "bag") as reader:
        assert "metadata.yaml" in reader.notes[0]


@pytest.mark.parametrize("mode", [None, CompressionMode.STORAGE])
def test_a_file_cut_off_anywhere_gives_its_whole_chunks(tmp_path, maker, mode):
    # More than the megabyte that rosbags puts into a chunk.
    many = [(index, maker.hands(index)) for index in range(30000)]
    write_with_rosbags(tmp_path / "bag", many, mode=mode)
    whole = (tmp_path / "bag" / "bag.mcap").read_bytes()
    damaged = tmp_path / "cut.mcap"
    counts = set()
    for part in 0.99, 0.8, 0.5:
        damaged.write_bytes(whole[: int(len(whole) * part)])
        messages, warnings = read(damaged)
        assert messages == many[: len(messages)]
        assert "not closed by its recorder" in warnings[0]
        counts.add(len(messages))
    assert len(counts) > 1 and min(counts) > 0


def test_damage_in_the_middle_costs_one_chunk(written, hands):
    data = bytearray(written.read_bytes())
    place = data.index(hands[25][1])
    data[place + 20] ^= 0xFF  # The third chunk fails its checksum.
    written.write_bytes(data)
    messages, warnings = read(written)
    assert messages == hands[:20] + hands[30:]
    (warning,) = warnings
    assert "is damaged inside" in warning
    lost = int(warning.split(": ")[1].split(" ")[0])
    assert len(hands[0][1]) * 10 < lost < len(data) / 3
    data[-1] ^= 0xFF  # Without a proper end the file is read from its start.
    written.write_bytes(data)
    messages, warnings = read(written)
    assert messages == hands[:20] + hands[30:]
    assert "not closed by its recorder" in warnings[0] and str(lost) in warnings[0]


@pytest.mark.parametrize("damage", ["missing", "empty", "text"])
def test_a_part_that_is_gone_does_not_take_the_others_along(tmp_path, hands, damage):
    write_with_rosbags(tmp_path / "bag", hands)
    first = tmp_path / "bag" / "bag.mcap"
    (tmp_path / "bag" / "bag_1.mcap").write_bytes(first.read_bytes())
    metadata = tmp_path / "bag" / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("- bag.mcap", "- bag.mcap\n  - bag_1.mcap", 1))
    assert "bag_1.mcap" in metadata.read_text()
    if damage == "missing":
        first.unlink()
    else:
        first.write_bytes(b"" if damage == "empty" else b"this is no recording at all" * 9)
    messages, warnings = read(tmp_path / "bag")
    assert messages == hands and warnings


def test_a_killed_writer_leaves_a_complete_file(tmp_path, maker):
    program = textwrap.dedent(
        """
        import sys
        from h2onet_ros.bag.writer import BagWriter
        writer = BagWriter(sys.argv[1])
        writer.add_topic("/hands", "h2onet_msgs/msg/HandArray")
        for index in range(300):
            writer.write("/hands", index, bytes.fromhex(sys.argv[2]))
            if index % 100 == 99:
                writer.flush()
        writer.write("/hands", 300, bytes.fromhex(sys.argv[2]))
        print("written", flush=True)
        sys.stdin.read()
        """
    )
    path = tmp_path / "killed.mcap"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path), maker.hands(0).hex()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    with Reader(path) as reader:  # A complete file: rosbags accepts no other.
        assert reader.message_count == 300


def test_a_full_disk_keeps_what_was_written(tmp_path, maker):
    path = tmp_path / "full.mcap"
    program = textwrap.dedent(
        """
        import resource, sys
        from h2onet_ros.bag.errors import DiskFullError
        from h2onet_ros.bag.writer import BagWriter
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        with BagWriter(sys.argv[1]) as writer:
            writer.add_topic("/hands", "h2onet_msgs/msg/HandArray")
            for index in range(100_000):
                writer.write("/hands", index, bytes.fromhex(sys.argv[2]))
                if index % 50 == 49:
                    writer.flush()
        """
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(path), maker.hands(0).hex()],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert "DiskFullError: No room left for the recording" in result.stderr
    with Reader(path) as reader:
        times = [time_ns for _, time_ns, _ in reader.messages()]
    assert times == list(range(len(times))) and len(times) % 50 == 0 and len(times) >= 500
    assert f"{len(times)} messages are in it, the last 50 are lost" in result.stderr


def test_no_room_even_for_the_beginning(tmp_path):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "x.mcap").symlink_to(full)
    with pytest.raises(DiskFullError, match="0 messages"):
        BagWriter(tmp_path / "x.mcap")


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("nothing_there", None, "There is no recording at"),
        ("picture.png", b"PNG", "is no recording that can be read here"),
        ("empty.mcap", b"", "is no MCAP file"),
        ("text.mcap", b"hello, this is text " * 20, "is no MCAP file"),
        ("start.mcap", b"\x89MCAP0\r\n\x01", "cut off before its first topic"),
        ("text.db3", b"hello, this is text", "Cannot read the recording"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path, name, content, complaint):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BagError, match=complaint):
        BagReader(tmp_path / name)


def test_a_folder_without_a_recording_is_refused(tmp_path):
    with pytest.raises(BagError, match="holds neither metadata"):
        BagReader(tmp_path)


def test_a_wrong_topic_is_told_with_the_ones_there_are(written):
    with BagReader(written) as reader, pytest.raises(BagError) as caught:
        list(reader.messages(["/hand_mesh_node/hand"]))
    assert f"it has {TOPIC} ({HAND_ARRAY}, 40 messages), /topology ({MESH_TOPOLOGY}, 0 messages)" in str(
        caught.value
    )
    assert f"Did you mean {TOPIC}?" in str(caught.value)


def test_a_message_that_is_not_of_its_type_is_told(tmp_path):
    with BagWriter(tmp_path / "odd.mcap") as writer:
        writer.add_topic(TOPIC, HAND_ARRAY)
        writer.write(TOPIC, 0, b"\0\1\0\0\1\2\3")
    with BagReader(tmp_path / "odd.mcap") as reader, pytest.raises(BagError, match="is no h2onet_msgs"):
        reader.deserialize(next(reader.messages()))


def test_misuse_of_the_writer_is_told(tmp_path):
    with pytest.raises(BagError, match="written as an"):
        BagWriter(tmp_path / "hands.bag")
    with BagWriter(tmp_path / "hands.mcap") as writer:
        with pytest.raises(BagError, match="call add_topic first"):
            writer.write(TOPIC, 0, b"")
        with pytest.raises(BagError, match="not in the typestore"):
            writer.add_topic(TOPIC, "some_msgs/msg/Thing")
        writer.add_topic(TOPIC, HAND_ARRAY)
        with pytest.raises(BagError, match="add each one once"):
            writer.add_topic(TOPIC, HAND_ARRAY)
    (tmp_path / "file").touch()
    with pytest.raises(BagError, match="Cannot write the recording"):
        BagWriter(tmp_path / "file" / "hands.mcap")


@pytest.mark.parametrize("owner", ["h2onet_msgs", "h2onet_ros"])
def test_the_messages_are_found_where_only_the_package_is_installed(tmp_path, owner):
    checkout = Path(__file__).resolve().parents[2]
    shutil.copytree(checkout / "h2onet_ros" / "bag", tmp_path / "site" / "h2onet_ros" / "bag")
    folder = tmp_path / "prefix" / "share" / owner / "msg"
    shutil.copytree(checkout / "h2onet_msgs" / "msg", folder)
    program = (
        "from h2onet_ros.bag.message_types import *; print(message_folder(), len(create_typestore().types))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ
        | {"PYTHONPATH": str(tmp_path / "site"), "AMENT_PREFIX_PATH": str(tmp_path / "prefix")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.stdout.split()[0] == str(folder), result.stderr
