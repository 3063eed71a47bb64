"""Everything a template may print, as finished C words. Templates compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .butterflies import Pass
from .machine import MachineWords
from .soft_exp import SoftExp


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
    layer_bits: str
    """What follows the multipliers of a layer's matrix."""
    own_bits: str
    """The same of the one matrix of a kind without layers."""


@dataclass(frozen=True)
class PairWords:
    """Two parts of a group's words, whose lower four bits share bytes; and their upper bits in place."""

    packed: str
    """Where the bytes stand that hold the lower bits."""
    first: str
    second: str
    first_upper: str
    second_upper: str


@dataclass(frozen=True)
class FormWords:
    """How weights of fewer than 8 bits are stored."""

    name: str
    bits: int
    test: str
    """Tells a matrix `w` of so many bits from one of more; empty when there is no other."""
    block_bytes: str
    """Of a block of so many columns."""
    row_bytes: str
    """Of a row of DIM columns."""
    group_bytes: int
    """Of a row's 32 columns."""
    middle: int
    """What a weight is stored plus."""
    offsets: int
    """By so many is the offset of a group multiplied, which is made for weights plus 8."""
    upper: str
    """Those above the lower four, for the reader."""
    upper_times: str
    """What makes a number of parts one of bits."""
    upper_mask: int
    mask: str
    """Those bits of the four bytes of a word."""
    parts: int
    """Of a group's words; a word of upper bits serves one word of each."""
    pairs: Sequence[PairWords]


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
    has_groups: bool
    """Some matrix has a multiplier for each group of columns."""
    has_four_bits: bool
    """Some matrix has."""
    group_forms: Sequence[FormWords]
    """Of matrices that have groups."""
    group_bits: str
    """Of those, for the reader."""
    narrow_forms: Sequence[FormWords]
    """Those that are unpacked to bytes before they are multiplied."""
    narrow_bits: str
    tells_bits: bool
    """There are several."""
    embedding_has_four_bits: bool
    embedding_form: FormWords | None
    """Of a tied embedding, where that has fewer than 8 bits."""
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
    narrow_tiles: Sequence[TileWords]
    """Of all rows of a block."""
    wide_tiles: bool
    """Some of the integer tiles take vectors of 16 bits."""
    scales_by_floats: bool
    """Sums are scaled by whole floats too: those of keys, or of rows for several positions."""
    single_chunk: bool
    """No more positions than one sum of whole numbers holds, and no vectors"""
    tied: bool
    gain_is_mixed: bool
    """Before the last gain and behind it the channels of the vector are mixed, for it belongs to those of the model."""
    gain_block: int
    """How many are mixed together"""
    gain_passes: Sequence[Pass]
    has_final_gain: bool
    classifier: str
    has_tokenizer: bool
    speculates: bool
    """Tokens may be evaluated ahead."""
    forgets: bool
    """A reset forgets threads or speculation, which are then to be given again."""
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
