"""Many recordings: which ones, shared out to processes and to a Ray cluster whose workers die, one report."""

import json
import multiprocessing
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from h2onet_ros.bag.errors import BagError
from h2onet_ros.bag.evaluate import main
from h2onet_ros.bag.evaluation.run import evaluate
from h2onet_ros.bag.evaluation.settings import EvaluationSettings
from h2onet_ros.bag.fleet.command import evaluate_many
from h2onet_ros.bag.fleet.jobs import Job, find_recordings, is_one, make_jobs
from h2onet_ros.bag.fleet.processes import LocalWorkers
from h2onet_ros.bag.fleet.schedule import Died, Progress, run_jobs
from h2onet_ros.bag.fleet.summary import merge_metrics
from h2onet_ros.bag.message_types import COMPRESSED_IMAGE
from h2onet_ros.bag.writer import BagWriter

LONG = 120
ROOT = Path(__file__).resolve().parents[2]
SETTINGS = EvaluationSettings(engine="onnxruntime", report=False)
COMMAND = [sys.executable, "-m", "h2onet_ros.cli", "evaluate-bag", "--engine", "onnxruntime", "--no-report"]


def write_bag(path, maker, count):
    """A recording of grey images."""
    topic = "/camera/image_raw/compressed"
    with BagWriter(path) as bag:
        bag.add_topic(topic, COMPRESSED_IMAGE)
        for index in range(count):
            jpeg = cv2.imencode(".jpg", np.full((60, 80, 3), index % 200, np.uint8))[1].ravel()
            stamp = maker.types["builtin_interfaces/msg/Time"](*divmod(10**9 + index * 40_000_000, 10**9))
            header = maker.types["std_msgs/msg/Header"](stamp, "eye")
            message = maker.types[COMPRESSED_IMAGE](header, "jpeg", jpeg)
            data = bytes(maker.store.serialize_cdr(message, COMPRESSED_IMAGE))
            bag.write(topic, 10**9 + index * 40_000_000, data)
    return path


def wait_for_file(path, process):
    """Until a process has made a file; without spinning, since it needs the core itself."""
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory, maker):
    """A folder with a short recording, one that takes a while, and one that is none."""
    folder = tmp_path_factory.mktemp("recordings")
    write_bag(folder / "long.mcap", maker, LONG)
    write_bag(folder / "short.mcap", maker, 5)
    (folder / "junk.mcap").write_bytes(b"no recording at all")
    return folder


@pytest.fixture(scope="module")
def endless(tmp_path_factory, maker):
    """A recording that nobody is to see the end of."""
    return write_bag(tmp_path_factory.mktemp("endless") / "endless.mcap", maker, 50 * LONG)


@pytest.fixture
def tree(tmp_path):
    """Recordings in several shapes; only their names are looked at."""
    for name in (
        "a/metadata.yaml",
        "a/a_0.mcap",
        "b/deep/one.db3",
        "b/deep/two.mcap",
        "b/split/s_0.mcap",
        "b/split/s_1.mcap",
        "b/evaluated/hands.mcap",
        "b/evaluated/metrics.json",
        "c.mcap",
        "notes.txt",
        "empty/x.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["c.mcap", "a"], ["c.mcap", "a"]),
        (["a", "./a", "c.mcap", "a/"], ["a", "c.mcap"]),
        (["b"], ["b/deep/one.db3", "b/deep/two.mcap", "b/split"]),
        (["."], ["a", "b/deep/one.db3", "b/deep/two.mcap", "b/split", "c.mcap"]),
        (["b/**/*.db3"], ["b/deep/one.db3"]),
        (["*"], ["a", "b/deep/one.db3", "b/deep/two.mcap", "b/split", "c.mcap"]),
    ],
    ids=["as given", "each once", "folder", "folder with all", "pattern", "pattern with folders"],
)
def test_recordings_are_found(tree, monkeypatch, names, expected):
    monkeypatch.chdir(tree)
    found = find_recordings(names)
    assert [path.as_posix() for path in found] == expected


def test_a_list_names_recordings_beside_it(tree, monkeypatch):
    (tree / "list.txt").write_text("# tonight\nc.mcap\n\n  a  # the good one\nb/**/*.db3\n")
    found = find_recordings([str(tree / "a")], tree / "list.txt")
    assert [path.relative_to(tree).as_posix() for path in found] == ["a", "c.mcap", "b/deep/one.db3"]


@pytest.mark.parametrize(
    ("names", "lines", "complaint"),
    [
        (["nothing"], None, "There is no recording at nothing"),
        (["*.bag"], None, r"No recording matches \*.bag"),
        (["empty"], None, "Expected recordings .* in empty, found none"),
        ([], "# nothing\n", "names none"),
        ([], "gone.mcap\n", r"no recording at .*gone.mcap \(in list.txt\)"),
        ([], b"\xff\xfe\x00", "cannot read list.txt: it is no text"),
    ],
    ids=["missing", "pattern", "empty folder", "empty list", "missing in list", "list of bytes"],
)
def test_recordings_that_are_not_there(tree, monkeypatch, names, lines, complaint):
    monkeypatch.chdir(tree)
    if lines is not None:
        Path("list.txt").write_bytes(lines if isinstance(lines, bytes) else lines.encode())
    with pytest.raises(BagError, match=complaint):
        find_recordings(names, Path("list.txt") if lines is not None else None)


def test_one_recording_is_told_from_several(tree, monkeypatch):
    monkeypatch.chdir(tree)
    names = ("a", "b", "b/split", "b/deep", "c.mcap", "nothing", "*.mcap")
    assert [name for name in names if is_one(name)] == ["a", "b/split", "c.mcap", "nothing"]


def test_each_job_has_a_folder_of_its_own(tmp_path):
    paths = [Path("/x/run.mcap"), Path("/y/run.mcap"), Path("/z/run_1"), Path("/z/v1.2")]
    jobs = make_jobs(paths, tmp_path, replace(SETTINGS, weights="some"))
    assert [job.name for job in jobs] == ["run_2", "run_3", "run_1", "v1.2"]
    assert jobs[0].out == str(tmp_path / "run_2") and jobs[0].settings.weights == str(Path("some").absolute())
    topics = {Path("/x/run.mcap"): ["/left/image", "/right/image"]}
    jobs = make_jobs(paths[:2], tmp_path, SETTINGS, lambda path: topics.get(path, []))
    assert [(job.name, job.settings.topic) for job in jobs] == [
        ("run_1/left_image", "/left/image"), ("run_1/right_image", "/right/image"), ("run_2", None),
    ]  # fmt: skip
    assert [job.number for job in jobs] == [0, 1, 2]


def test_many_recordings_give_one_report(recordings, tmp_path, capsys):
    """Through the command; one of the recordings is junk, which stops none of the others."""
    result = subprocess.run(
        [*COMMAND, recordings, "--seconds", "0.5", "--workers", "2", "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert result.returncode == 1, result.stderr
    summary = json.loads((tmp_path / "out" / "recordings.json").read_text())
    assert [(row["name"], row["status"]) for row in summary["recordings"]] == [
        ("junk", "failed"), ("long", "done"), ("short", "done"),
    ]  # fmt: skip
    assert "is no MCAP file" in summary["recordings"][0]["problems"][0]
    assert summary["total"]["images"] == 13 + 5 and summary["statuses"] == {"failed": 1, "done": 2}
    alone = evaluate(recordings / "short.mcap", tmp_path / "alone", SETTINGS)
    assert summary["recordings"][2]["metrics"] == alone.metrics
    lines = [line.split()[:3] for line in result.stdout.splitlines()]
    assert (
        ["long", "done", "13"] in lines and ["junk", "failed", "–"] in lines and ["all", "2", "of"] in lines
    )
    assert "100%" in result.stderr and "short: done, 5 images" in result.stderr
    page = (tmp_path / "out" / "report.html").read_text()
    assert "junk.mcap is no MCAP file" in page and "2 of 3" in page and "http" not in page
    # The folder is not overwritten unasked, and nothing in it is touched.
    with pytest.raises(BagError, match="has recordings"):
        evaluate_many(
            make_jobs([recordings / "short.mcap"], tmp_path / "out", SETTINGS),
            tmp_path / "out",
            1,
            None,
            bool,
        )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "expected a recording, or --list FILE"),
        (["a", "b", "--workers", "0"], "--workers: expected 1 or more, got 0"),
        (["a", "--workers", "2", "--ray", "auto"], "not both"),
        (["a", "b"], "There is no recording at a."),
        (["a", "--ray", "127.0.0.1:1"], "There is no recording at a."),
    ],
)
def test_commands_that_cannot_be(tmp_path, monkeypatch, capsys, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    try:
        code = main([*arguments, "--out", "out"])
    except SystemExit as end:
        code = end.code
    assert code == 2 and complaint in capsys.readouterr().err
    assert not Path("out").exists()


def kill_on_progress(name, times):
    """An event handler that kills the process of a job in the middle of it."""
    killed = []

    def handle(event):
        is_it = isinstance(event, Progress) and event.job.name == name and 0 < event.done < event.expected
        if is_it and len(killed) < times:
            process = next(one for one in multiprocessing.active_children() if one.name == name)
            if process.pid not in killed:
                os.kill(process.pid, signal.SIGKILL)
                killed.append(process.pid)

    return handle, killed


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_process_that_dies_is_replaced_once(recordings, tmp_path, deaths):
    jobs = make_jobs([recordings / "long.mcap", recordings / "short.mcap"], tmp_path, SETTINGS)
    handle, killed = kill_on_progress("long", deaths)
    with LocalWorkers(2) as workers:
        long, short = run_jobs(jobs, workers, handle, lambda: False)
    assert len(killed) == deaths and (short.status, short.attempts) == ("done", 1)
    assert long.attempts == 2
    if deaths == 2:
        assert long.status == "died" and "died 2 times: ended by SIGKILL" in long.problems[0]
    else:
        assert long.status == "done" and long.metrics["images"] == LONG
        assert json.loads((tmp_path / "long" / "metrics.json").read_text()) == long.metrics
    assert multiprocessing.active_children() == []


def test_ctrl_c_keeps_what_is_finished_and_resume_does_the_rest(recordings, tmp_path):
    names = [recordings / "short.mcap", recordings / "long.mcap"]
    command = [*COMMAND, *names, "--workers", "1", "--out", tmp_path / "out"]
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
    )
    seen = ""
    while "short: done" not in seen and (piece := running.stderr.read(1)):
        seen += piece
    # As the terminal does it: to the command and to its workers.
    os.killpg(running.pid, signal.SIGINT)
    _, last_words = running.communicate(timeout=300)
    assert running.returncode == 130 and "Traceback" not in last_words + seen
    summary = json.loads((tmp_path / "out" / "recordings.json").read_text())
    assert summary["recordings"][0]["status"] == "done"
    assert summary["recordings"][1]["status"] in ("interrupted", "not started")
    resumed = subprocess.run([*command, "--resume"], capture_output=True, text=True, cwd=ROOT)
    assert resumed.returncode == 0, resumed.stderr
    summary = json.loads((tmp_path / "out" / "recordings.json").read_text())
    assert [row["metrics"]["images"] for row in summary["recordings"]] == [5, LONG]


def test_workers_end_with_whoever_started_them(endless, recordings, tmp_path):
    command = [*COMMAND, endless, recordings / "short.mcap", "--workers", "1"]
    running = subprocess.Popen(
        [*command, "--out", tmp_path / "out"], stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    wait_for_file(tmp_path / "out" / "endless" / "hands.mcap", running)
    running.kill()
    # The stream ends when the last process that holds it has ended.
    running.communicate(timeout=300)
    metrics = json.loads((tmp_path / "out" / "endless" / "metrics.json").read_text())
    assert metrics["images"] < 50 * LONG and not metrics["is_complete"]


class _Scripted:
    """Workers whose jobs end as told: no process could be made to end at exactly these moments."""

    description = "scripted"

    def __init__(self, events):
        self._events = events
        self.started, self.interrupted = [], False

    def has_room(self):
        return True

    def start(self, job):
        self.started.append(job)

    def wait(self, seconds):
        return [self._events.pop(0)(self.started)] if self._events else []

    def interrupt(self):
        self.interrupted = True


def test_a_second_attempt_goes_on_where_the_first_ended():
    job = Job(0, "a", "/a", "/out/a", replace(SETTINGS, existing="replace"))
    workers = _Scripted(
        [lambda started: Died(started[-1], "gone"), lambda started: Died(started[-1], "gone")]
    )
    (result,) = run_jobs([job], workers, lambda event: None, lambda: False)
    assert [one.settings.existing for one in workers.started] == ["replace", "resume"]
    assert result.status == "died" and result.attempts == 2


def test_a_worker_that_dies_while_all_is_stopped_is_not_replaced():
    jobs = [Job(k, str(k), "/a", "/out", SETTINGS) for k in range(2)]
    workers = _Scripted([lambda started: Died(started[0], "gone"), lambda started: Died(started[1], "gone")])
    results = run_jobs(jobs, workers, lambda event: None, lambda: len(workers.started) == 2)
    assert workers.interrupted and len(workers.started) == 2
    assert [result.status for result in results] == ["interrupted", "interrupted"]


def test_metrics_of_parts_make_those_of_the_whole():
    """Sums and weighted means against figures computed from all hands at once."""
    from h2onet_ros.bag.evaluation.accuracy import AccuracyMetrics
    from h2onet_ros.perception.camera import Camera
    from h2onet_ros.perception.types import Hand, Region

    random = np.random.default_rng(3)
    camera = Camera.assumed(640, 480)

    def hand(joints, occlusion, side="left"):
        points = camera.project(joints).astype(np.float32)
        region = Region(*points.mean(0).tolist(), 100.0)
        joints, turn = joints.astype(np.float32), np.eye(3, dtype=np.float32)
        occlusion = occlusion.astype(np.float32)
        return Hand(1, side, 1.0, 1.0, region, joints[0], turn, joints, joints, occlusion, points, 0.0)

    images = []
    for _ in range(40):
        joints = random.normal(0, 0.05, (21, 3)) + np.array([0, 0, 0.6])
        true = hand(joints, random.integers(0, 2, 6))
        off = joints + random.normal(0, 0.005, (21, 3))
        found = hand(off, random.random(6), random.choice(["left", "right"]))
        images.append(([found] if random.random() < 0.8 else [], [true] if random.random() < 0.9 else []))

    def metrics(part):
        accuracy = AccuracyMetrics()
        for found, true in part:
            accuracy.add(found, true, camera)
        found = [hands for hands, _ in part]
        counts = {
            "images": len(part),
            "images_unreadable": 1,
            "images_with_hands": sum(map(bool, found)),
            "hands": sum(map(len, found)),
            "tracks": [{}],
        }
        return counts | {"stability": {"jitter_at_rest": float(len(part))}, "accuracy": accuracy.summary()}

    whole, merged = metrics(images), merge_metrics([metrics(images[:13]), metrics(images[13:])])
    assert (merged["images"], merged["images_unreadable"], merged["tracks"]) == (40, 2, 2)
    assert merged["coverage"] == whole["images_with_hands"] / 40 and merged["hands"] == whole["hands"]
    first = sum(len(hands) for hands, _ in images[:13])
    expected = (first * 13 + (merged["hands"] - first) * 27) / merged["hands"]
    assert merged["stability"]["jitter_at_rest"] == pytest.approx(expected)
    for name in ("detection", "errors", "occlusion"):
        assert flat(merged["accuracy"][name]) == pytest.approx(flat(whole["accuracy"][name]), nan_ok=True)
    assert merge_metrics([])["coverage"] is None


def flat(entry, name=""):
    if isinstance(entry, dict):
        return {key: value for k, v in entry.items() for key, value in flat(v, f"{name}.{k}").items()}
    return {name: np.nan if entry is None else entry}


@pytest.fixture(scope="module")
def ray_cluster():
    """A Ray instance of two cores on this machine; gives its address and the environment to reach it."""
    pytest.importorskip("ray", reason="needs the extra `ray`")
    if not Path("/proc").is_dir():
        pytest.skip("processes are looked for in /proc")
    # Sockets lie in the folder, and their paths may not be long.
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "OMP_NUM_THREADS": "1",
            # Ray gives up on a busy machine sooner than the machine does.
            "RAY_worker_register_timeout_seconds": "300",
            "RAY_health_check_failure_threshold": "60",
        }
        # Its node has half a minute to come up, whatever one asks for: a busy machine may need another try.
        for attempt in range(3):
            address, cluster, seen = start_ray(f"{folder}/{attempt}", environment)
            if "--block" in seen:
                break
        else:
            pytest.fail(f"Ray does not start here: {seen}")
        yield address, environment
        cluster.terminate()
        cluster.communicate(timeout=60)


def start_ray(folder, environment):
    """Address, process and output of a Ray head; the output has "--block" where it came up."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).parent / "ray", "start", "--head", "--block", "--disable-usage-stats"]
    command += ["--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=2", f"--temp-dir={folder}"]
    command += ["--include-dashboard=false", "--object-store-memory=80000000"]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    )
    seen = ""
    while "--block" not in seen and (line := process.stdout.readline()):
        seen += line
    return f"127.0.0.1:{port}", process, seen


def worker_of(name, token):
    """Process id of the Ray worker that has the job, in the instance with that token."""
    for entry in Path("/proc").iterdir():
        try:
            title, environment = ((entry / part).read_bytes() for part in ("cmdline", "environ"))
            if (
                title.startswith(f"ray::h2onet evaluate-bag {name}".encode())
                and token.encode() in environment
            ):
                return int(entry.name)
        except OSError:
            continue
    return None


def test_a_ray_worker_killed_in_the_middle_is_replaced(ray_cluster, recordings, tmp_path):
    address, environment = ray_cluster
    out = tmp_path / "out"
    names = [recordings / "long.mcap", recordings / "short.mcap", recordings / "junk.mcap"]
    running = subprocess.Popen(
        [*COMMAND, *names, "--ray", address, "--out", out],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment,
    )  # fmt: skip
    # The results' file is made when the first image is about to be looked at; many are to come.
    wait_for_file(out / "long" / "hands.mcap", running)
    killed = worker_of("long", environment["RAY_AUTH_TOKEN"])
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    text, errors = running.communicate(timeout=900)
    assert running.returncode == 1, errors
    assert "long: its worker died" in errors
    summary = json.loads((out / "recordings.json").read_text())
    assert [(row["name"], row["status"], row["attempts"]) for row in summary["recordings"]] == [
        ("long", "done", 2), ("short", "done", 1), ("junk", "failed", 1),
    ]  # fmt: skip
    assert "done (attempt 2)" in text and f"Ray cluster {address} (2 cores)" in summary["workers"]
    alone = evaluate(recordings / "short.mcap", tmp_path / "alone", SETTINGS)
    assert summary["recordings"][1]["metrics"] == alone.metrics
    assert summary["recordings"][0]["metrics"]["images"] == LONG


def test_no_cluster_is_told_at_once(recordings, tmp_path):
    pytest.importorskip("ray", reason="needs the extra `ray`")
    result = subprocess.run(
        [*COMMAND, recordings / "short.mcap", "--ray", "127.0.0.1:1", "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert result.returncode == 2 and "Expected a Ray cluster at 127.0.0.1:1" in result.stderr
    assert not (tmp_path / "out").exists()


def test_ray_may_be_absent(recordings, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    jobs = make_jobs([recordings / "short.mcap"], tmp_path, SETTINGS)
    with pytest.raises(BagError, match=r"pip install 'h2onet_ros\[ray\]'"):
        evaluate_many(jobs, tmp_path / "out", None, "auto", bool)
