"""The exported networks parse in the real TensorRT(-RTX) parser and build, without a GPU."""

from __future__ import annotations

import logging
import sys
from types import ModuleType

import onnxruntime
import pytest

from h2onet_ros.engines import EngineError, create_engine
from h2onet_ros.engines.cache import CompiledCache
from h2onet_ros.engines.cuda import Cuda, CudaError, DeviceFacts
from h2onet_ros.engines.tensorrt_build import MODULES, build_engine, check_gpu, find_tensorrt, make_logger
from h2onet_ros.engines.tensorrt_store import TensorRtStore
from h2onet_ros.engines.typed_onnx import half_precision

rtx = pytest.importorskip(
    "tensorrt_rtx_bindings",
    reason="TensorRT-RTX is not installed (extra: tensorrt)",
    exc_type=ImportError,
)

GPU = DeviceFacts("NVIDIA RTX 4090", (8, 9), "CUDA 13.0")


@pytest.fixture(scope="module")
def bundle(exported):
    return exported("single_frame")[1]


def test_the_networks_build(exported):
    for variant in ("single_frame", "multi_frame"):
        bundle = exported(variant)[1]
        for path in (bundle.encode_path, bundle.fuse_path):
            assert len(build_engine(rtx, path)[0]) > 10_000


@pytest.mark.parametrize("network", ["encode", "fuse"])
def test_in_half_precision_the_large_layers_are_half_and_the_exact_ones_single(exported, network):
    bundle = exported("multi_frame")[1]
    definition, _parser = parsed(half_precision(bundle.folder / f"{network}.onnx"))
    layers = [definition.get_layer(i) for i in range(definition.num_layers)]
    heavy = (rtx.LayerType.CONVOLUTION, rtx.LayerType.MATRIX_MULTIPLY)
    types = {
        kind: [layer.get_output(0).dtype for layer in layers if layer.type == kind]
        for kind in (*heavy, rtx.LayerType.GRID_SAMPLE)
    }
    large = [dtype for kind in heavy for dtype in types[kind]]
    assert large.count(rtx.float16) > 0.7 * len(large) if network == "encode" else rtx.float16 in large
    assert rtx.float16 not in types[rtx.LayerType.GRID_SAMPLE]
    for tensors, count in (
        (definition.get_input, definition.num_inputs),
        (definition.get_output, definition.num_outputs),
    ):
        assert {tensors(i).dtype for i in range(count)} == {rtx.float32}


def parsed(content: bytes):
    logger = make_logger(rtx)
    definition = rtx.Builder(logger).create_network(
        1 << int(rtx.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    )
    parser = rtx.OnnxParser(definition, logger)
    assert parser.parse(content)
    return definition, parser


def test_a_file_that_is_no_network_is_refused(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no network")
    with pytest.raises(EngineError, match=r"TensorRT-RTX .* cannot parse .*x\.onnx"):
        build_engine(rtx, tmp_path / "x.onnx")
    with pytest.raises(EngineError, match=r"cannot parse .*x\.onnx"):
        half_precision(tmp_path / "x.onnx")


def test_without_tensorrt_the_error_says_what_to_install(monkeypatch):
    for name in MODULES:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineError, match=r"TensorRT is not installed.*extra 'tensorrt'"):
        find_tensorrt()


def test_a_tensorrt_whose_libraries_are_missing_is_passed_over(monkeypatch, tmp_path):
    (tmp_path / "tensorrt.py").write_text("import ctypes\nctypes.CDLL('libnvinfer_that_is_missing.so.10')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    assert find_tensorrt() is rtx
    for name in MODULES[1:]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineError, match=r"not whole \(libnvinfer_that_is_missing.*extra 'tensorrt'"):
        find_tensorrt()


def test_a_tensorrt_that_is_too_old_is_refused(monkeypatch):
    old = ModuleType("tensorrt")
    old.__version__ = "10.3.0.post1"
    monkeypatch.setitem(sys.modules, "tensorrt", old)
    with pytest.raises(EngineError, match=r"TensorRT 10\.3\.0\.post1 is too old: .* need 10\.12 or later"):
        find_tensorrt()


def test_gpus_that_tensorrt_rtx_does_not_know_are_refused_by_name():
    check_gpu(rtx, GPU.name, GPU.capability)
    with pytest.raises(EngineError, match=r"does not support the GPU NVIDIA H100 .*9\.0; it knows SM"):
        check_gpu(rtx, "NVIDIA H100", (9, 0))


class TestStore:
    """Built engines are kept and found again for the same GPU, driver, weights and precision only."""

    def get(self, store, bundle, precision="float32"):
        return store.cached(bundle, bundle.fuse_path, precision)

    def build(self, store, bundle):
        return store.built(bundle, bundle.fuse_path, "float32")

    def test_an_engine_is_found_again(self, bundle, tmp_path, caplog):
        caplog.set_level(logging.INFO)
        store = TensorRtStore(rtx, GPU, CompiledCache(tmp_path))
        assert self.get(store, bundle) is None
        engine = self.build(store, bundle)
        assert "building fuse of test in float32 with TensorRT" in caplog.text
        assert self.get(TensorRtStore(rtx, GPU, CompiledCache(tmp_path)), bundle) == engine
        assert [path.name.split("-")[0] for path in tmp_path.iterdir()] == ["tensorrt"]

    def test_it_is_not_used_for_anything_else(self, bundle, exported, tmp_path):
        cache = CompiledCache(tmp_path)
        self.build(TensorRtStore(rtx, GPU, cache), bundle)
        for other in (
            DeviceFacts("NVIDIA RTX 5090", GPU.capability, GPU.driver),
            DeviceFacts(GPU.name, (12, 0), GPU.driver),
            DeviceFacts(GPU.name, GPU.capability, "CUDA 13.1"),
        ):
            assert self.get(TensorRtStore(rtx, other, cache), bundle) is None
        newer = ModuleType("tensorrt_rtx_bindings")
        newer.__version__ = "99.0"
        assert self.get(TensorRtStore(newer, GPU, cache), bundle) is None
        store = TensorRtStore(rtx, GPU, cache)
        assert self.get(store, bundle, "float16") is None
        assert self.get(store, exported("multi_frame")[1]) is None
        assert self.get(store, bundle) is not None

    def test_a_damaged_entry_is_reported_and_not_used(self, bundle, tmp_path, caplog):
        store = TensorRtStore(rtx, GPU, CompiledCache(tmp_path))
        self.build(store, bundle)
        (path,) = tmp_path.iterdir()
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        assert self.get(store, bundle) is None
        assert f"the cached network {path} is damaged" in caplog.text

    def test_a_folder_that_cannot_be_written_is_reported(self, bundle, tmp_path, caplog):
        (tmp_path / "file").write_text("")
        store = TensorRtStore(rtx, GPU, CompiledCache(tmp_path / "file" / "cache"))
        assert len(self.build(store, bundle)) > 10_000
        assert "cannot keep the compiled network" in caplog.text


def has_gpu() -> bool:
    try:
        Cuda().close()
    except CudaError:
        return False
    return True


@pytest.mark.skipif(has_gpu(), reason="there is a GPU")
class TestWithoutGpu:
    def test_the_engine_says_that_there_is_no_device(self, exported):
        with pytest.raises(EngineError, match="no CUDA device"):
            create_engine(exported("multi_frame")[1], "tensorrt", cache_folder=None)

    def test_onnx_runtime_does_not_fall_back_to_the_processor(self, exported):
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            pytest.skip("this ONNX Runtime was built for CUDA")
        with pytest.raises(EngineError, match=r"has no CUDAExecutionProvider .*install onnxruntime-gpu"):
            create_engine(exported("multi_frame")[1], "onnxruntime-cuda")

    def test_pytorch_has_no_cuda_graphs(self, exported):
        with pytest.raises(EngineError, match="torch-cuda-graph needs a GPU that PyTorch can use"):
            create_engine(exported("multi_frame")[1], "torch-cuda-graph")


def test_precisions_it_lacks_are_refused(exported):
    with pytest.raises(EngineError, match="engine tensorrt computes in float16, float32 or int8, not 'int3'"):
        create_engine(exported("multi_frame")[1], "tensorrt", precision="int3")
