"""The box of the header: what an embedder reads of a model, and the members of its state."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from .. import __version__
from ..contract import literals
from ..plan.memory import WORD_ROOM, MemoryPlan
from ..plan.speculation import LEAST_MATCH, MOST_MATCH
from ..reference.sampler import WEIGHT_BITS
from .arena import private_constants
from .decisions import Decisions
from .lists import Named, aligned
from .tokens import end_names, start_name

_MEMBER_COMMENTS = {
    "tokens": f" /* the last {WORD_ROOM}: to merge the last word of a prompt in */",
    "drafts": " /* the newest token, and those expected after it */",
}


@dataclass(frozen=True)
class Api:
    """Facts and constants of the header."""

    summary: str
    shape: str
    scheme: str
    target: str
    sha256: str
    rodata_text: str
    prompt_bytes_text: str
    """Bytes of flash of a baked prompt."""
    ram_text: str
    alignment: int
    """The address of a state is a multiple of this."""
    stack_text: str
    ready_word: str
    """32 bits of a hash of all that decides what the bytes of a state mean."""
    public_constants: Sequence[Named]
    members: Sequence[Named]
    """Arrays of the state: the type is the name, the declaration the value."""
    word_room: int
    """Characters of a prompt's last word that may be merged at the end of the context."""
    weight_bits: int
    """Binary digits of a sampling weight after the point."""
    weight_one: str
    """A sampling weight of one."""
    least_match: int
    """Tokens that must have stood in the conversation before, in the same order, for more to be expected."""
    most_match: int
    """Maximum of such tokens that are compared."""


def api(decided: Decisions) -> Api:
    """Fill the box."""
    model, memory = decided.model, decided.memory
    config = model.config
    members = state_members(memory)
    return Api(
        summary="a Llama language model as C, for this one model and one target.",
        shape=(
            f"dim {config.dim}, {config.n_layers} layers, {config.n_heads} heads and {config.n_kv_heads} KV heads of "
            f"{config.head_dim}, hidden {config.hidden_dim}, vocabulary {config.vocab_size}, context {model.context}"
        ),
        scheme=model.scheme,
        target=decided.target.name,
        sha256=model.sha256,
        rodata_text=f"{memory.rodata_bytes:,}",
        prompt_bytes_text=f"{memory.sections.get('prompt', 0):,}",
        ram_text=f"{memory.ram_bytes:,}",
        alignment=state_alignment(memory),
        stack_text=f"{decided.stack_bytes:,}",
        ready_word=_ready_word(decided, [*private_constants(decided), *members]),
        public_constants=_public_constants(decided),
        members=members,
        word_room=WORD_ROOM,
        weight_bits=WEIGHT_BITS,
        weight_one=literals.float32(float(1 << WEIGHT_BITS)),
        least_match=LEAST_MATCH,
        most_match=MOST_MATCH,
    )


def _public_constants(decided: Decisions) -> list[Named]:
    config, memory, upper = decided.model.config, decided.memory, decided.upper
    begins, ends = start_name(config, upper), end_names(config, upper)
    both = " and ends" if config.start_id in config.end_ids else ""
    rows = [
        (f"{upper}_VERSION", f"0x{version_number(__version__):06X}", "of llgen, 0xMMmmpp: major, minor, patch"),
        (f"{upper}_VERSION_TEXT", f'"{__version__}"', "of llgen"),
        (f"{upper}_VOCAB", str(config.vocab_size), "tokens are numbers from 0 up to this"),
        (f"{upper}_CONTEXT", str(decided.model.context), "tokens that a conversation has room for"),
        (begins, str(config.start_id), f"the token that begins{both} a text"),
        *((name, str(token), "a token that ends a text") for name, token in ends.items()),
    ]
    if decided.tables is not None:
        rows.append((f"{upper}_PIECE_BYTES", str(decided.tables.piece_bytes), "of the longest text of a token"))
    if memory.prompt is not None:
        rows.append((f"{upper}_PROMPT_TOKENS", str(memory.prompt.tokens), "of the baked prompt"))
    if memory.drafts:
        rows.append((f"{upper}_DRAFTS", str(memory.drafts), "tokens that can be evaluated ahead, at most"))
    rows += [
        (f"{upper}_RAM_BYTES", str(memory.ram_bytes), "the size of a state"),
        (f"{upper}_ALIGNMENT", str(state_alignment(memory)), "the address of a state is a multiple of it"),
        (f"{upper}_STACK_BYTES", str(decided.stack_bytes), "of any call, at most; callbacks not included"),
    ]
    width = max(len(value) for _, value, _ in rows)
    return aligned((name, value.ljust(width), comment) for name, value, comment in rows)


def version_number(version: str) -> int:
    """A version as a number that programs can compare: 0xMMmmpp of its major, minor and patch level.

    What follows the three numbers, as in `1.2.3rc1`, does not count.
    """
    parts = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    assert parts is not None, version
    major, minor, patch = (int(part) for part in parts.groups())
    return major << 16 | minor << 8 | patch


def state_alignment(memory: MemoryPlan) -> int:
    """The alignment of a state: that of its largest member, a callback's 64 bits where there is one."""
    return 8 if memory.block is not None and memory.block.threads else 4


def state_members(memory: MemoryPlan) -> list[Named]:
    """The arrays of the state: type, then name and count; comments begin in one column."""
    declared = {member.name: f"{member.name}[{member.count}];" for member in memory.members}
    width = max(len(text) for name, text in declared.items() if name in _MEMBER_COMMENTS)
    return [
        Named(
            member.type.ljust(len("uint32_t")),
            declared[member.name].ljust(width if member.name in _MEMBER_COMMENTS else 0),
            _MEMBER_COMMENTS.get(member.name, ""),
        )
        for member in memory.members
    ]


def _ready_word(decided: Decisions, layout: Sequence[Named]) -> str:
    facts = [
        decided.model.sha256,
        decided.model.kv,
        decided.memory.ram_bytes,
        decided.memory.drafts,
        decided.threads,
        *((each.padded_name, each.value) for each in layout),
    ]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:8].upper()
