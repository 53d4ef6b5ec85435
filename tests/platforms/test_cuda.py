"""What GPUs there are and whether they can be used, asked of a management library that makes them up.

The devices themselves: test_device.py.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from penstock import platforms
from penstock.config.resolve import resolve
from penstock.config.sections import EngineArgs
from penstock.errors import StartError
from penstock.platforms import nvml
from penstock.platforms.cuda import CudaPlatform, torch_versions
from servers import ROOT

H200 = "NVIDIA H200,143771,143000,9,0,GPU-11111111-aaaa"
T4 = "Tesla T4,15360,15000,7,5,GPU-22222222-bbbb"
P100 = "Tesla P100,16384,16000,6,0,GPU-33333333-cccc"
TODAY = "580.65.06;13000"
TORCH = "__version__ = '2.11.0+cu130'\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n"


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler for the stand-in of NVIDIA's library")
    out = tmp_path_factory.mktemp("nvml") / "libfake.so"
    source = Path(__file__).with_name("fake_nvml.c")
    subprocess.run([compiler, "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", str(out), str(source)], check=True)
    return str(out)


@pytest.fixture(autouse=True)
def _all_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("FAKE_GPUS", raising=False)


@pytest.fixture
def version_file(tmp_path: Path) -> Path:
    file = tmp_path / "version.py"
    file.write_text(TORCH)
    return file


def test_facts_of_the_first_gpu(library: str, version_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_GPUS", f"{TODAY};{H200};{T4}")
    platform = CudaPlatform(library, version_file)
    facts = platform.facts()
    assert platform.refusal() is None
    assert platform.seen()
    assert (facts.name, facts.memory_total, facts.memory_free) == ("cuda", 143771 << 20, 143000 << 20)
    assert facts.device_name == "NVIDIA H200 (compute capability 9.0)"
    assert facts.supported_dtypes == ("bfloat16", "float16", "float32")
    assert platform.preferred_16bit() == "bfloat16"
    assert platform.describe() == [
        ("NVIDIA driver", "580.65.06, CUDA up to 13.0"),
        ("GPU 0", "NVIDIA H200 (compute capability 9.0), 143771 MiB, 143000 MiB free"),
        ("GPU 1", "Tesla T4 (compute capability 7.5), 15360 MiB, 15000 MiB free"),
    ]


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("1", ["Tesla T4"]),
        ("1,0", ["Tesla T4", "NVIDIA H200"]),
        ("0,7,1", ["NVIDIA H200"]),  # CUDA stops at what it does not know
        ("GPU-2222", ["Tesla T4"]),
        ("GPU-22222222-bbbb, 0", ["Tesla T4", "NVIDIA H200"]),
        ("MIG-1", []),
        ("-1", []),
        ("", []),
    ],
)
def test_only_visible_gpus_count(library: str, visible: str, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_GPUS", f"{TODAY};{H200};{T4}")
    driver = nvml.read_driver(visible, library)
    assert driver is not None
    assert [gpu.name for gpu in driver.gpus] == names


def test_an_older_gpu_prefers_float16(library: str, version_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_GPUS", f"{TODAY};{T4}")
    platform = CudaPlatform(library, version_file)
    monkeypatch.setattr(platforms, "current", lambda name="auto": platform)
    assert platform.preferred_16bit() == "float16"
    config = resolve(EngineArgs(device="cuda"), usage="server")
    assert (config.device.platform, config.model.dtype, config.cache.block_size) == ("cuda", "float16", 16)
    with pytest.raises(StartError, match=r"--dtype bfloat16: Tesla T4 \(compute capability 7.5\) computes only in fl"):
        resolve(EngineArgs(device="cuda", dtype="bfloat16"), usage="server")


@pytest.mark.parametrize(
    ("gpus", "torch", "words"),
    [
        (None, TORCH, "there is no NVIDIA driver here, or it does not answer"),
        (TODAY, TORCH, "the NVIDIA driver shows no GPU"),
        (
            f"{TODAY};{H200}",
            "__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\n",
            "the installed torch (2.13.0+cpu) was built without CUDA",
        ),
        (
            f"550.54;12040;{H200}",
            TORCH,
            "the installed torch (2.11.0+cu130) was built for CUDA 13.0, and the NVIDIA driver 550.54 runs CUDA up to "
            "12.4; it takes a newer driver or an older torch",
        ),
        (
            f"{TODAY};{P100}",
            TORCH,
            "Tesla P100 (compute capability 6.0) is too old: compute capability 7.5 or newer is needed",
        ),
    ],
)
def test_why_a_gpu_cannot_be_used(
    library: str, version_file: Path, gpus: str | None, torch: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version_file.write_text(torch)
    if gpus is not None:
        monkeypatch.setenv("FAKE_GPUS", gpus)
    assert CudaPlatform(library, version_file).refusal() == words


def test_hidden_gpus_are_named(library: str, version_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_GPUS", f"{TODAY};{H200}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    platform = CudaPlatform(library, version_file)
    assert platform.refusal() == "the NVIDIA driver shows no GPU with CUDA_VISIBLE_DEVICES="
    assert not platform.seen()


def test_auto_takes_what_can_be_used(
    library: str, version_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def cuda() -> CudaPlatform:
        return CudaPlatform(library, version_file)

    kinds = platforms.PLATFORMS._entries
    monkeypatch.setitem(kinds, "cuda", cuda)
    assert platforms.current("auto").name == "cpu"
    with pytest.raises(StartError, match="--device cuda: there is no NVIDIA driver here, or it does not answer"):
        platforms.current("cuda")
    monkeypatch.setenv("FAKE_GPUS", f"{TODAY};{H200}")
    assert platforms.current("auto").name == "cuda"
    assert platforms.current("cpu").name == "cpu"
    assert not caplog.records


@pytest.mark.parametrize("name", platforms.OTHERS)
def test_other_devices_are_not_built_in(name: str) -> None:
    with pytest.raises(StartError, match=f"--device {name} is not built into this version: it has auto, cpu, cuda"):
        platforms.current(name)


def test_unknown_devices() -> None:
    with pytest.raises(StartError, match="--device must be one of auto, cpu, cuda, not gpu"):
        platforms.current("gpu")


def test_options_are_resolved_without_torch() -> None:
    """Which device to take, too, is found out by a process that must not wait for torch."""
    program = (
        "import sys; from penstock import platforms; platforms.current('auto');"
        "from penstock.platforms.cuda import CudaPlatform; CudaPlatform().refusal();"
        "assert not [m for m in sys.modules if m == 'torch' or m.startswith('torch.')]"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_torch_says_what_it_was_built_for(tmp_path: Path) -> None:
    import torch
    import torch.version

    assert torch.version.__file__ is not None
    assert torch_versions(Path(torch.version.__file__)) == (torch.__version__, torch.version.cuda)
    assert torch_versions(tmp_path / "nothing.py") == ("unknown", None)
