"""Tests with other libraries: each file is collected where its library is installed."""

from importlib.util import find_spec

NEEDS = {
    "test_torch.py": ["torch"],
    "test_torch_loss.py": ["torch"],
    "test_reach.py": ["torch"],
    "test_keras.py": ["keras", "h5py", "torch"],
    "test_onnx.py": ["onnx"],
    "test_jax.py": ["jax"],
    "test_docs.py": ["torch", "keras", "jax"],
    "test_notebooks.py": ["torch", "jupytext", "nbclient", "ipykernel"],
}
collect_ignore = [
    name for name, libraries in NEEDS.items() if not all(find_spec(of) for of in libraries)
]
