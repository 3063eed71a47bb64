"""Naming: everything a template may print, as finished C words. Templates compute nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from llgen.targets.schema import Target

from . import __version__, literals, numerics
from .kernels import KernelSet, Tile
from .machine import (
    MachineWords,
    compile_flags,
    input_bytes,
    machine_words,
    makefile_link_flags,
    ticks_a_second,
)
from .numerics import LANES
from .pack import Packed
from .plan import STEPS, WORD_ROOM, BlockPlan, MemoryPlan, operand_elements
from .quantize import KINDS, QuantModel
from .soft_exp import SoftExp, soft_exp
from .speculation import LEAST_MATCH, MOST_MATCH
from .tokenizer_tables import TokenizerTables

WEIGHT_BITS = 30
"""The likeliest token weighs 2^30 when sampling: the sum over any vocabulary fits 64 bits with room to spare."""


_MEMBER_COMMENTS = {
    "tokens": " /* the last so many: to merge a prompt's last word in */",
    "drafts": " /* the newest token, and those expected behind it */",
}


@dataclass(frozen=True)
class Named:
    """A C constant: `padded_name` is filled with spaces so that a list of them lines up."""

    padded_name: str
    value: str
    comment: str = ""


@dataclass(frozen=True)
class TensorWords:
    name: str
    type: str
    bytes: int
    count: int


@dataclass(frozen=True)
class MatrixWords:
    """An integer matrix of each layer, or of the whole model."""

    name: str
    layered: bool
    places: Sequence[str]
    """Where a layer's weights, scales and multipliers begin in the arrays of their kind."""
    numbers: int
    """In a place."""
    has_multipliers: bool
    """Of some layer, at least."""
    always_multipliers: bool


@dataclass(frozen=True)
class TileWords:
    """Sums that a kernel keeps in registers, positions times vectors of rows."""

    width: int
    positions: Sequence[int]
    height: int
    vectors: Sequence[int]
    wide: bool = False
    """It takes vectors of whole numbers of 16 bits."""
    split: bool = False
    """Each row has two sums."""
    name: str = "tile"
    v: str = "v"
    """What the operations on its vectors begin with."""
    lanes: str = "V_LANES"


@dataclass(frozen=True)
class ShapeWords:
    """Tiles of so many positions: the height that is best first, then those for what rows are left."""

    width: int
    parts: Sequence[TileWords]


@dataclass(frozen=True)
class TokenizerWords:
    """Fields of the tokenizer's template."""

    unknown_id: int
    has_bytes: bool
    byte_base: int
    pieces: int
    virtual_comment: str
    mergeable: int
    long_texts: bool
    """The texts exceed what C promises of a literal."""
    text_rows: Sequence[str]
    offset_type: str
    offset_rows: Sequence[str]
    id_type: str
    sorted_rows: Sequence[str]
    has_ranks: bool
    rank_rows: Sequence[str]
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    words_split: bool
    strip_first_space: bool
    keeps_second_space: bool
    """Of several leading spaces only one is dropped."""


@dataclass(frozen=True)
class CodegenContext:
    """All that templates see; every field is a word of C, a number, or a named decision."""

    p: str
    """Prefix of functions and types."""
    P: str
    """Prefix of constants."""
    generator: str
    summary: str
    shape: str
    scheme: str
    target: str
    sha256: str
    rodata_text: str
    ram_text: str
    stack_text: str
    ready_word: str
    public_constants: Sequence[Named]
    private_constants: Sequence[Named]
    buffers: Sequence[Named]
    tensors: Sequence[TensorWords]
    members: Sequence[Named]
    """Arrays of the state: the type is the name, the declaration the value."""
    word_room: int
    block_rows: int
    accumulators: Sequence[int]
    integer: bool
    """Products are sums of whole numbers."""
    int_accumulators: Sequence[int]
    int_columns: int
    two_int_columns: int
    one_lane: bool
    """Vectors of floats are single floats."""
    many_lanes: bool
    eight_lanes: bool
    w: str
    """What the operations on the longest vectors of floats begin with."""
    w_lanes: str
    long_vectors: bool
    """Those are longer than the eight lanes of a reduction."""
    cuts_vectors: bool
    """Instructions take the first lanes of a vector, and put its whole numbers as bytes."""
    score_lanes: int
    """Positions whose scores are taken together."""
    attend_rows: Sequence[int]
    """Queries whose attention is computed together."""
    split_weights: bool
    """Weights of attention are multiplied byte by byte."""
    value_group: int
    """Positions whose 8-bit values are stored side by side."""
    split_sums: bool
    """Of integer tiles of one position."""
    soft_float: bool
    """There is no unit for floats."""
    has_vfp: bool
    """Floats are taken four at a time by the instructions of a small ARM."""
    wide_products: bool
    counts_zeros: bool
    soft_doubt: int
    """What the upper half of a product may lack, as it is computed in whole numbers"""
    soft_place_rows: Sequence[str]
    """The places that a byte's number takes, for each byte"""
    soft_exp: SoftExp
    word_rows: bool
    """8-bit weights of four rows share a word."""
    has_long_rows: bool
    """And some rows are longer than the sums that three products hold."""
    all_columns: bool
    """A function of the instruction set takes all columns of a block."""
    biased: bool
    """8-bit weights are stored plus 128."""
    biased_each: bool
    """And the words of four rows are multiplied for one position after the other"""
    paired_rows: bool
    """8-bit weights lie as the DSP extension takes them."""
    looks_into_blocks: bool
    """Single weights of blocks are read or written: a tied embedding's, or the keys of an 8-bit cache."""
    has_four_bits: bool
    """Some matrix has."""
    embedding_has_four_bits: bool
    whole_cache: bool
    """Keys and values are whole numbers."""
    matrices: Sequence[MatrixWords]
    weight_levels: str
    whole_weight_levels: int
    smallest_step: str
    chunk: int
    threads: bool
    """Evaluation may be divided among threads."""
    blocks: bool
    """Several positions are evaluated together."""
    one_position: bool
    """Positions come one at a time."""
    float_products: bool
    """Products of float32 matrices, the keys and values of attention among them."""
    float_tiles: Sequence[ShapeWords]
    has_long_tiles: bool
    long_tiles: Sequence[ShapeWords]
    """Of matrices, in long vectors."""
    block_pairs: bool
    """One position is multiplied by two blocks at once."""
    pair: TileWords
    """What either of the two takes."""
    int_tiles: Sequence[TileWords]
    four_tiles: Sequence[TileWords]
    wide_tiles: bool
    """Some of the integer tiles take vectors of 16 bits."""
    four_step: int
    """Columns that the kernel for 4-bit weights takes at once."""
    scales_by_floats: bool
    """Sums are scaled by whole floats too: those of keys, or of rows for several positions."""
    single_chunk: bool
    """No more positions than one sum of whole numbers holds, and no vectors"""
    tied: bool
    has_final_gain: bool
    classifier: str
    has_tokenizer: bool
    speculates: bool
    """Tokens may be evaluated ahead."""
    least_match: int
    """Tokens that must have stood in the conversation before, one after the other, for more to be expected."""
    most_match: int
    """More of them are not looked for."""
    baked_prompt: bool
    """Conversations begin with a prompt whose keys and values are constants."""
    prompt_bytes_text: str
    """What it takes in flash"""
    trace: bool
    """Generate calls that hand every intermediate to a function outside; for `check` alone."""
    dim_float: str
    norm_eps: str
    weight_bits: int
    weight_one: str
    exp_limit: str
    exp_limit_whole: int
    exp_round: str
    exp_log2e: str
    exp_ln2_high: str
    exp_ln2_low: str
    exp_first: str
    exp_rest: Sequence[str]
    exp_middle: Sequence[str]
    """All coefficients but the first and the last."""
    exp_last: str
    cflags: str
    ldflags: str
    sources: str
    model_sources: str
    """Those that an embedder takes: all but the program's."""
    compiler: str
    """The command that `make` runs when it is told of no other."""
    cross: bool
    """The machine's own `cc` cannot make this program."""
    has_gcc: bool
    gcc: str
    """The command of a GCC that can."""
    gcc_libraries: str
    artifact: str
    ticks_a_second: int
    input_bytes: int
    firmware: bool
    """The program runs without an operating system."""
    tokenizer: TokenizerWords | None
    machine: MachineWords | None
    """None: there is an operating system, or a page."""


def name(
    model: QuantModel,
    memory: MemoryPlan,
    kernels: KernelSet,
    packed: Packed,
    tables: TokenizerTables | None,
    *,
    prefix: str,
    target: Target,
    cflags: Sequence[str],
    sources: Sequence[str],
    program: Sequence[str],
    trace: bool = False,
) -> CodegenContext:
    """Spell out every decision of the earlier stages in C's words."""
    config = model.config
    upper = prefix.upper()
    blocks = memory.block is not None
    threads = memory.block is not None and memory.block.threads
    long_vectors = blocks and kernels.long_lanes > 0
    return CodegenContext(
        p=prefix,
        P=upper,
        generator=f"Generated by llgen {__version__}; do not edit.",
        summary="a Llama language model as C, for this one model and one target.",
        shape=(
            f"dim {config.dim}, {config.n_layers} layers, {config.n_heads} heads and {config.n_kv_heads} KV heads of "
            f"{config.head_dim}, hidden {config.hidden_dim}, vocabulary {config.vocab_size}, context {model.context}"
        ),
        scheme=model.scheme,
        target=target.name,
        sha256=model.sha256,
        rodata_text=f"{memory.rodata_bytes:,}",
        ram_text=f"{memory.ram_bytes:,}",
        stack_text=f"{kernels.stack_bytes:,}",
        ready_word=model.sha256[:8].upper(),
        public_constants=_public_constants(model, memory, kernels, tables, upper),
        private_constants=_private_constants(model, memory, kernels),
        buffers=_buffers(memory),
        tensors=[TensorWords(t.name, t.type, len(t.data), t.count) for t in packed.tensors],
        members=_members(memory),
        word_room=WORD_ROOM,
        block_rows=kernels.block_rows(model.is_integer),
        accumulators=range(kernels.accumulators),
        integer=model.is_integer,
        int_accumulators=range(kernels.int_accumulators),
        int_columns=kernels.int_columns,
        two_int_columns=2 * kernels.int_columns,
        one_lane=kernels.lanes == 1,
        many_lanes=kernels.lanes > 1,
        eight_lanes=kernels.lanes == LANES,
        w="l" if long_vectors else "v",
        w_lanes="L_LANES" if long_vectors else "V_LANES",
        long_vectors=long_vectors,
        cuts_vectors=blocks and kernels.cuts_vectors,
        score_lanes=kernels.score_lanes(blocks=blocks),
        attend_rows=range(0 if memory.block is None else memory.block.attend_rows),
        split_weights=blocks and kernels.split_weights,
        value_group=kernels.value_group(blocks=blocks),
        split_sums=kernels.split_sums,
        soft_float=kernels.soft_float,
        has_vfp=kernels.paired_rows and not kernels.soft_float,
        wide_products=kernels.wide_products,
        counts_zeros=kernels.counts_zeros,
        soft_doubt=0 if kernels.wide_products else 2,
        soft_place_rows=_number_rows([byte.bit_length() for byte in range(256)], 32),
        soft_exp=soft_exp(kernels),
        word_rows=kernels.word_rows,
        has_long_rows=max(config.dim, config.q_dim, config.hidden_dim) > 256,
        all_columns=kernels.all_columns,
        biased=kernels.biased,
        biased_each=kernels.word_rows,
        paired_rows=kernels.paired_rows,
        looks_into_blocks=(model.classifier is None and model.embedding.bits == 8) or model.kv == "q8",
        has_four_bits=model.has_four_bits,
        embedding_has_four_bits=model.embedding.bits == 4,
        whole_cache=model.kv == "q8",
        matrices=_matrices(packed),
        weight_levels=literals.float32(numerics.WEIGHT_LEVELS),
        whole_weight_levels=numerics.WEIGHT_LEVELS,
        smallest_step=literals.float32(float(numerics.SMALLEST_STEP)),
        chunk=numerics.CHUNK,
        threads=threads,
        blocks=blocks,
        one_position=memory.block is None,
        float_products=not model.is_integer or model.kv == "f32",
        float_tiles=[_shape(_tile(tile)) for tile in kernels.float_tiles],
        has_long_tiles=bool(kernels.long_tiles) and not model.is_integer,
        long_tiles=[_shape(_long_tile(tile)) for tile in kernels.long_tiles],
        block_pairs=kernels.block_pairs,
        pair=_whole_block(kernels),
        int_tiles=[
            replace(
                _tile(tile),
                wide=kernels.wide_tiles and tile.positions > 1,
                split=kernels.split_sums and tile.positions == 1,
            )
            for tile in kernels.int_tiles
        ],
        wide_tiles=kernels.wide_tiles,
        four_tiles=[_tile(tile) for tile in kernels.four_tiles],
        four_step=kernels.four_step,
        scales_by_floats=model.kv == "q8" or memory.block is not None,
        single_chunk=kernels.lanes == 1 and model.context <= numerics.CHUNK,
        tied=model.classifier is None,
        has_final_gain=model.final_gain is not None,
        classifier="embedding" if model.classifier is None else "classifier",
        has_tokenizer=tables is not None,
        speculates=memory.drafts > 0,
        least_match=LEAST_MATCH,
        most_match=MOST_MATCH,
        baked_prompt=memory.prompt is not None,
        prompt_bytes_text=f"{memory.sections.get('prompt', 0):,}",
        trace=trace,
        dim_float=literals.float32(config.dim),
        norm_eps=literals.float32(config.norm_eps),
        weight_bits=WEIGHT_BITS,
        weight_one=literals.float32(float(1 << WEIGHT_BITS)),
        exp_limit=literals.float32(float(numerics.EXP_LIMIT)),
        exp_limit_whole=int(numerics.EXP_LIMIT),
        exp_round=literals.float32(float(numerics.ROUND_TO_WHOLE)),
        exp_log2e=literals.float32(float(numerics.LOG2E)),
        exp_ln2_high=literals.float32(float(numerics.LN2_HIGH)),
        exp_ln2_low=literals.float32(float(numerics.LN2_LOW)),
        exp_first=literals.float32(float(numerics.EXP_POLYNOMIAL[0])),
        exp_rest=[literals.float32(float(c)) for c in numerics.EXP_POLYNOMIAL[1:]],
        exp_middle=[literals.float32(float(c)) for c in numerics.EXP_POLYNOMIAL[1:-1]],
        exp_last=literals.float32(float(numerics.EXP_POLYNOMIAL[-1])),
        cflags=" ".join([*cflags, *compile_flags(target)]),
        ldflags=" ".join([*(["-pthread"] if threads else []), *makefile_link_flags(target)]),
        sources=" ".join([*sources, *program]),
        model_sources=" ".join(sources),
        compiler=_compiler(target),
        cross=target.compiler.triple is not None,
        has_gcc=bool(target.compiler.gcc),
        gcc=" ".join(target.compiler.gcc),
        gcc_libraries=" ".join(target.compiler.gcc_libraries),
        artifact=prefix + target.suffix,
        ticks_a_second=ticks_a_second(target),
        input_bytes=input_bytes(target, model.context),
        firmware=target.firmware is not None,
        tokenizer=None if tables is None else _tokenizer(model, tables),
        machine=None if target.firmware is None else machine_words(target.firmware),
    )


def _compiler(target: Target) -> str:
    if target.compiler.triple is None:
        return "cc"
    cpu = [] if target.compiler.cpu is None else [f"-mcpu={target.compiler.cpu}"]
    return " ".join(["zig cc -target", target.compiler.triple, *cpu, "-fno-sanitize=undefined"])


def _public_constants(
    model: QuantModel, memory: MemoryPlan, kernels: KernelSet, tables: TokenizerTables | None, upper: str
) -> list[Named]:
    config = model.config
    constants = {
        f"{upper}_VOCAB": config.vocab_size,
        f"{upper}_CONTEXT": model.context,
        f"{upper}_BOS": config.bos_id,
        f"{upper}_EOS": config.eos_id,
    }
    if tables is not None:
        constants[f"{upper}_PIECE_BYTES"] = max(3, *(len(text) for text in tables.texts))
    if memory.prompt is not None:
        constants[f"{upper}_PROMPT_TOKENS"] = memory.prompt.tokens
    if memory.drafts:
        constants[f"{upper}_DRAFTS"] = memory.drafts
    constants[f"{upper}_RAM_BYTES"] = memory.ram_bytes
    constants[f"{upper}_STACK_BYTES"] = kernels.stack_bytes
    return _aligned((name, str(value), "") for name, value in constants.items())


def _private_constants(model: QuantModel, memory: MemoryPlan, kernels: KernelSet) -> list[Named]:
    config = model.config
    constants = {
        "DIM": config.dim,
        "DIM_PADDED": memory.dim_padded,
        "DIM_ROWS": memory.dim_rows,
        "HIDDEN": config.hidden_dim,
        "HIDDEN_PADDED": memory.hidden_padded,
        "N_LAYERS": config.n_layers,
        "N_HEADS": config.n_heads,
        "N_KV_HEADS": config.n_kv_heads,
        "GROUP": config.n_heads // config.n_kv_heads,
        "HEAD_DIM": config.head_dim,
        "HALF_HEAD": config.head_dim // 2,
        "Q_DIM": config.q_dim,
        "KV_DIM": config.kv_dim,
        "QKV_PADDED": memory.qkv_padded,
        "VOCAB": config.vocab_size,
        "VOCAB_PADDED": memory.vocab_padded,
        "CONTEXT": model.context,
        "CONTEXT_PADDED": memory.context_padded,
        "BLOCK_ROWS": kernels.block_rows(model.is_integer),
    }
    if model.is_integer:
        constants |= {"STEP": kernels.int_step, "PADDING": operand_elements(1, kernels)}
    if model.embedding.bits == 4:
        constants["FOUR_STEP"] = kernels.four_step
    if model.kv == "q8":
        constants |= {"HEAD_COLUMNS": memory.head_columns, "HEAD_PADDED": memory.head_padded}
        constants["VALUE_POSITIONS"] = memory.value_positions
    if memory.block is not None:
        constants |= _block_constants(memory.block, model, kernels)
    if memory.prompt is not None:
        constants |= {"PROMPT_KEYS": memory.prompt.keys, "PROMPT_VALUES": memory.prompt.values}
        if model.kv == "q8":
            constants["PROMPT_SCALES"] = memory.prompt.scales
    return _aligned((name, str(value), "") for name, value in constants.items())


def _block_constants(block: BlockPlan, model: QuantModel, kernels: KernelSet) -> dict[str, int]:
    constants = {
        "PREFILL": block.positions,
        "ATTEND_ROWS": block.attend_rows,
        "ATTEND_UNITS": block.attend_units,
        "SCORES": block.scores,
    }
    if block.threads:
        constants["LEAST_PARALLEL"] = kernels.least_parallel
    if model.is_integer:
        constants["OPERAND"] = block.operand
    if model.kv == "f32":
        constants |= {"HEAD_ROOM": block.head_room, "KEY_ROWS": kernels.block_rows(False)}
    return constants


def _tile(tile: Tile) -> TileWords:
    return TileWords(tile.positions, range(tile.positions), tile.vectors, range(tile.vectors))


def _long_tile(tile: Tile) -> TileWords:
    return replace(_tile(tile), name="long_tile", v="l", lanes="L_LANES")


def _whole_block(kernels: KernelSet) -> TileWords:
    """One position times all rows of a block of a float32 matrix."""
    rows = kernels.block_rows(False)
    if kernels.long_tiles:
        return _long_tile(Tile(1, rows // kernels.long_lanes))
    return _tile(Tile(1, rows // kernels.lanes))


def _shape(tile: TileWords) -> ShapeWords:
    heights = [height for height in (8, 4, 2, 1) if height <= tile.height]
    return ShapeWords(tile.width, [replace(tile, height=height, vectors=range(height)) for height in heights])


def _members(memory: MemoryPlan) -> list[Named]:
    return [
        Named(
            member.type.ljust(len("uint32_t")), f"{member.name}[{member.count}];", _MEMBER_COMMENTS.get(member.name, "")
        )
        for member in memory.members
    ]


def _matrices(packed: Packed) -> list[MatrixWords]:
    words = []
    for kind, places in packed.places.items():
        fours = [place.multipliers is not None for place in places]
        rows = [
            f"{place.weights}, {place.scales}"
            + ("" if not any(fours) else f", {'NO_MULTIPLIERS' if place.multipliers is None else place.multipliers}")
            for place in places
        ]
        words.append(MatrixWords(kind, kind in KINDS, rows, 3 if any(fours) else 2, any(fours), all(fours)))
    return words


def _buffers(memory: MemoryPlan) -> list[Named]:
    return _aligned(
        (
            f"AT_{buffer.name.upper()}",
            f"{buffer.offset},".ljust(8),
            f"{buffer.floats} floats, from {STEPS[buffer.first]} to {STEPS[buffer.last]}",
        )
        for buffer in memory.buffers
    )


def _aligned(rows: Iterable[tuple[str, str, str]]) -> list[Named]:
    listed = list(rows)
    width = max(len(row[0]) for row in listed)
    return [Named(name.ljust(width), value, comment) for name, value, comment in listed]


def _tokenizer(model: QuantModel, tables: TokenizerTables) -> TokenizerWords:
    vocabulary = model.vocabulary
    assert vocabulary is not None
    virtual = len(tables.texts) - len(vocabulary)
    text = b"".join(tables.texts)
    types = {2: "uint16_t", 4: "int32_t"}
    return TokenizerWords(
        unknown_id=vocabulary.unknown_id,
        has_bytes=vocabulary.byte_base is not None,
        byte_base=vocabulary.byte_base or 0,
        pieces=len(tables.texts),
        virtual_comment=f", and {virtual} characters that only longer pieces hold" if virtual else "",
        mergeable=len(tables.mergeable),
        long_texts=len(text) >= 4095,
        text_rows=literals.string_rows(text),
        offset_type=types[tables.offset_bytes],
        offset_rows=_number_rows(tables.offsets),
        id_type=types[tables.id_bytes],
        sorted_rows=_number_rows(tables.mergeable),
        has_ranks=tables.ranks is not None,
        rank_rows=_number_rows(tables.ranks or ()),
        add_dummy_prefix=vocabulary.add_dummy_prefix,
        remove_extra_whitespaces=vocabulary.remove_extra_whitespaces,
        words_split=tables.words_split,
        strip_first_space=vocabulary.add_dummy_prefix or vocabulary.remove_extra_whitespaces,
        keeps_second_space=vocabulary.add_dummy_prefix and not vocabulary.remove_extra_whitespaces,
    )


def _number_rows(numbers: Sequence[int], per_row: int = 16) -> list[str]:
    rows = [numbers[start : start + per_row] for start in range(0, len(numbers), per_row)]
    return [" ".join(f"{number}," for number in row) for row in rows]
