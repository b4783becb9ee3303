"""Installs h2onet_ros as an ament_python package (colcon) or with pip."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "h2onet_ros"


def files(folder, pattern):
    """Paths of the files that match in a folder beside this one, as setuptools wants them."""
    return sorted(str(path) for path in Path(folder).glob(pattern) if path.is_file())


assets = [str(Path(path).relative_to(PACKAGE)) for path in files(PACKAGE, "assets/**/*")]

setup(
    name=PACKAGE,
    version="0.1.0",
    description="3D hand meshes from an RGB camera in ROS 2, with the multi-frame H2ONet network",
    license="Apache-2.0",
    maintainer="h2onet_ros maintainers",
    maintainer_email="maintainers@h2onet-ros.example",
    packages=find_packages(include=[PACKAGE, PACKAGE + ".*"]),
    package_data={PACKAGE: [*assets, "bag/evaluation/templates/*.jinja"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + PACKAGE]),
        ("share/" + PACKAGE, ["package.xml"]),
        ("share/" + PACKAGE + "/launch", files("launch", "*.launch.py")),
        ("share/" + PACKAGE + "/config", files("config", "*.*")),
        # Recordings are read and written also where h2onet_msgs was not built.
        ("share/" + PACKAGE + "/msg", files("h2onet_msgs/msg", "*.msg")),
    ],
    zip_safe=False,
    python_requires=">=3.10",
    # ROS itself is no requirement here: it is either sourced or installed from requirements/ros_wheels.txt.
    install_requires=[
        "jinja2",
        "lz4",
        "matplotlib",
        "numpy",
        "onnxruntime>=1.17",
        "opencv-python-headless",
        "pillow",
        "rosbags>=0.11.9",
        "ruamel.yaml",
        "scipy",
        "tqdm",
    ],
    extras_require={
        # Tables of hands as Parquet, not CSV.
        "evaluate": ["pyarrow"],
        # For the scripts that made what lies in assets/; nobody else needs them.
        "assets": ["OpenEXR", "ai-edge-litert", "anny"],
        "int8": ["nncf>=2.9", "onnx>=1.16", "openvino>=2024.0"],
        "mano": ["smplx"],
        "openvino": ["openvino>=2024.0"],
        # evaluate-bag --ray: recordings evaluated by a cluster.
        "ray": ["ray>=2.9"],
        # TensorRT-RTX, which builds engines without a GPU; a full TensorRT that is installed goes first.
        "tensorrt": [
            "onnx>=1.16",
            "tensorrt-rtx-cu13-bindings; platform_system == 'Linux' and platform_machine == 'x86_64'",
            "tensorrt-rtx-cu13-libs; platform_system == 'Linux' and platform_machine == 'x86_64'",
        ],
        "train": [
            "lightning-fabric>=2.2",
            "matplotlib",
            "moderngl",
            "onnx>=1.16",
            "pyyaml",
            "safetensors",
            "scipy",
            "simplejpeg",
            "tensorboard",
            "torch>=2.6",
        ],
        "test": ["hypothesis", "mypy", "pytest", "pyarrow", "pyyaml", "ruff", "setuptools"],
    },
    entry_points={
        "console_scripts": [
            "hand_mesh_node = h2onet_ros.ros.node:main",
            "evaluate_bag = h2onet_ros.bag.evaluate:main",
            "camera_player = h2onet_ros.ros.camera_player:main",
            "h2onet = h2onet_ros.cli:main",
            "h2onet_demo = h2onet_ros.ros.demo:main",
            "hand_recorder = h2onet_ros.ros.recorder:main",
        ],
    },
)
