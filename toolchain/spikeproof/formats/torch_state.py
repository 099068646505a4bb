"""Read a PyTorch file of tensors alone: nothing that it holds is executed.

torch is imported when a file is read. Tensors of a GPU are put into main memory.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.errors import InputError
from spikeproof.extras import need
from spikeproof.io.foreign import foreign_kind

Array = NDArray[Any]
_WRAPPED = "module."
"""What torch.nn.DataParallel puts before every name."""
_SHOWN = 8
_ALONE = (
    "Where it was made, write the network's tensors alone: torch.save(model.state_dict(), ...)."
)


def read_state(data: bytes, where: str) -> dict[str, Array]:
    """Return a state dict as arrays by name.

    Half precision becomes float32, which changes no value; float32, float64, integers and truth
    values stay what they are. Names that all begin with ``module.`` lose that.

    Args:
        data: the bytes of the file.
        where: its path, for messages.

    Raises:
        InputError: no PyTorch file, damaged, more than tensors in it, or no state dict.
        MissingExtraError: torch is not installed.
    """
    need("torch", extra="torch", purpose=where)
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on sparse tensors and old types: refused below
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the reader trips over, it is the file's fault
        raise _unreadable(data, where, error) from error
    found = _named_tensors(state, where)
    odd = [
        f"{name} is a {'sparse' if tensor.layout != torch.strided else 'quantised'} tensor"
        for name, tensor in found.items()
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu"
    ]
    if odd:
        raise InputError("; ".join(odd[:_SHOWN]), where=where, hint="Store dense tensors.")
    # A stride of 0 repeats what is held: such a tensor is larger than its file.
    spread = [
        f"{name} has {tensor.numel():,} values, the file holds "
        f"{tensor.untyped_storage().nbytes() // tensor.element_size():,} of them"
        for name, tensor in found.items()
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()
    ]
    if spread:
        hint = "Store it as it is: {name: tensor.contiguous() for name, tensor in state.items()}."
        raise InputError("; ".join(spread[:_SHOWN]), where=where, hint=hint)
    return {name: _array(tensor) for name, tensor in _unwrapped(found).items()}


def _named_tensors(state: Any, where: str) -> dict[str, Any]:
    """Return what was read as tensors by name, if it is that.

    Raises:
        InputError: it is not; what it is instead is said.
    """
    import torch

    if not isinstance(state, Mapping):
        raise InputError(
            f"holds a {type(state).__name__}, expected a state dict", where=where, hint=_ALONE
        )
    other = [str(name) for name, value in state.items() if not isinstance(value, torch.Tensor)]
    if other or not state:
        entries = ", ".join(map(str, list(state)[:_SHOWN])) or "nothing"
        nested = [str(n) for n, v in state.items() if isinstance(v, Mapping) and v]
        hint = f'The state dict seems to be its entry "{nested[0]}". {_ALONE}' if nested else _ALONE
        raise InputError(
            f"holds more or less than the tensors of a network: {entries}", where=where, hint=hint
        )
    return {str(name): tensor for name, tensor in state.items()}


def _unwrapped(state: dict[str, Any]) -> dict[str, Any]:
    if all(name.startswith(_WRAPPED) for name in state):
        return {name.removeprefix(_WRAPPED): tensor for name, tensor in state.items()}
    return state


def _array(tensor: Any) -> Array:
    import torch

    plain = tensor.detach()
    if plain.dtype in (torch.float16, torch.bfloat16):
        plain = plain.float()
    return np.asarray(plain.contiguous().numpy())


def _unreadable(data: bytes, where: str, error: Exception) -> InputError:
    """Say what a file is that torch.load does not read as tensors."""
    if not data:
        return InputError("is an empty file", where=where, hint="Copy or create it again.")
    what, hint = foreign_kind(data, where) or ("no PyTorch file", "")
    if not what.startswith("a PyTorch file") or "more than tensors" in what:
        return InputError(f"is {what}, expected a state dict", where=where, hint=hint or _ALONE)
    reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
    return InputError(
        f"is a damaged or truncated PyTorch file: {reason[0][:200]}",
        where=where,
        hint="Copy or create it again.",
    )
