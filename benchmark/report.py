"""The figures of a run: as a document for JSON, as Markdown tables, and as a picture."""

from __future__ import annotations

import os
import platform
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.subjects import ENCODE, FUSE, PACED, STEP, TWO_HANDS
from benchmark.worker import TIMED, Worker

PACKAGES = ("numpy", "onnxruntime", "openvino", "torch", "tensorrt", "tensorrt_rtx_cu13_bindings")


def document(workers: list[Worker], left_out: dict[str, str], width: float, rounds: int) -> dict[str, Any]:
    """Everything that was measured, and where."""
    reference = next((x for x in workers if x.subject.group == "reference"), None)
    return {
        "machine": machine(),
        "width": width,
        "rounds": rounds,
        "rows": [_row(worker, reference) for worker in workers],
        "left_out": left_out,
    }


def machine() -> dict[str, Any]:
    """What the figures belong to."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpu": _gpu(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "load": round(os.getloadavg()[0], 1),
        "date": date.today().isoformat(),
        "versions": versions,
    }


def markdown(result: dict[str, Any]) -> str:
    """Tables for people."""
    where = result["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    lines = [
        f"{where['processor']}, {where['cores']} cores, {where['memory_gb']} GB, "
        f"GPU: {where['gpu'] or 'none'}; {where['system']}; {versions}. {where['date']}, load "
        f"{where['load']} at the end. Milliseconds, {result['rounds']} turns of {TIMED} timings; network "
        f"of width {result['width']:g}.",
        "",
    ]
    networks = [row for row in result["rows"] if row["group"] in ("reference", "engines")]
    if networks:
        lines += [
            "| one hand | step | p95 | ratio | 30 Hz | encode | fuse | further hand | memory MB | start s |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
            *(_network_line(row) for row in networks),
            "",
        ]
        kept = [row["kept_kb"] for row in networks if "kept_kb" in row]
        if kept:
            lines += [f"Kept of each past frame and hand: {max(kept):.1f} kB.", ""]
    others = [row for row in result["rows"] if row not in networks]
    if others:
        lines += [
            "| part | median | p95 | memory MB | start s |",
            "|---|---:|---:|---:|---:|",
            *(
                _cells(row["name"], *_texts(row, "step_ms", "step_p95_ms", "memory_mb", "start_s"))
                for row in others
            ),
            "",
        ]
        lines += [
            f"{row['name'].capitalize()}: {row['description']}.\n" for row in others if "description" in row
        ]
    if result["left_out"]:
        lines += ["Left out here:", ""]
        lines += [f"- {title}: {reason}" for title, reason in result["left_out"].items()]
    return "\n".join(lines).rstrip() + "\n"


def plot(result: dict[str, Any], path: Path) -> None:
    """Bars of the steps, encode and fuse apart, written as a PNG. Needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in result["rows"] if row["group"] in ("reference", "engines")][::-1]
    figure, axes = pyplot.subplots(figsize=(9, 0.6 + 0.42 * len(rows)), layout="constrained")
    names = [row["name"] for row in rows]
    encode = [row.get("encode_ms", row["step_ms"]) for row in rows]
    colours = ["#9a9a9a" if row["group"] == "reference" else "#3b6ea5" for row in rows]
    axes.barh(names, encode, color=colours, label="encode (of the reference: all)")
    axes.barh(names, [row.get("fuse_ms", 0) for row in rows], left=encode, color="#e08a3c", label="fuse")
    p95 = [row["step_p95_ms"] for row in rows]
    axes.plot(p95, names, "|", color="black", markersize=11, label="95th percentile of the step")
    for row, name in zip(rows, names):
        text = f"{row['step_ms']:.1f} ms"
        if row["group"] != "reference" and "ratio" in row:
            text += f", {row['ratio']:.1f}x"
        axes.annotate(
            text,
            (max(row["step_ms"], row["step_p95_ms"]), name),
            (6, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set_xlim(0, 1.22 * max(p95))
    axes.set_xlabel("milliseconds for one frame of one hand (medians)")
    where = result["machine"]
    axes.set_title(f"{where['processor']}, {where['cores']} cores; network of width {result['width']:g}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _row(worker: Worker, reference: Worker | None) -> dict[str, Any]:
    row = {
        "name": worker.subject.title,
        "group": worker.subject.group,
        "step_ms": _median(worker, STEP),
        "step_p95_ms": float(np.percentile(worker.times[STEP], 95)),
        **{name: value for name, value in worker.facts.items() if name != "actions"},
    }
    if reference is not None and worker.subject.group in ("reference", "engines"):
        row["ratio"] = _median(reference, STEP) / row["step_ms"]
    if PACED in worker.times:
        row["paced_ms"] = _median(worker, PACED)
    if FUSE in worker.times:
        row["encode_ms"] = _median(worker, ENCODE)
        row["fuse_ms"] = _median(worker, FUSE)
        row["further_hand_ms"] = _median(worker, TWO_HANDS) - row["encode_ms"]
    return row


def _median(worker: Worker, action: str) -> float:
    return float(np.median(worker.times[action]))


def _network_line(row: dict[str, Any]) -> str:
    ratio = f"{row['ratio']:.1f}" if "ratio" in row else ""
    times = _texts(row, "paced_ms", "encode_ms", "fuse_ms", "further_hand_ms", "memory_mb", "start_s")
    return _cells(row["name"], *_texts(row, "step_ms", "step_p95_ms"), ratio, *times)


def _texts(row: dict[str, Any], *names: str) -> list[str]:
    def text(name: str) -> str:
        value = row.get(name)
        return "" if value is None else f"{value:.0f}" if name == "memory_mb" else f"{value:.2f}"

    return [text(name) for name in names]


def _cells(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _gpu() -> str | None:
    from h2onet_ros.engines.cuda import CudaError, find_gpu

    try:
        return find_gpu().name
    except CudaError:
        return None
