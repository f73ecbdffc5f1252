//! What the parser makes of a PTX file.

use std::collections::BTreeMap;

/// A PTX file.
#[derive(Debug, Default)]
pub struct Unit {
    /// `.version`, as written.
    pub version: String,
    /// `.target`, the first word of it.
    pub target: String,
    /// `.file`: number to name.
    pub files: BTreeMap<u32, String>,
    /// Variables at file scope.
    pub variables: Vec<Variable>,
    /// Kernels and device functions, those merely declared included.
    pub functions: Vec<Function>,
}

/// A place in the CUDA source, from `.loc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// The number that `.file` gave the file.
    pub file: u32,
    /// The line in it.
    pub line: u32,
    /// Where the function that it belongs to was inlined: file and line.
    pub inlined_at: Option<(u32, u32)>,
}

/// A state space that a variable can live in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// No space named: the address says which.
    Generic,
    /// Device memory.
    Global,
    /// A block's own memory.
    Shared,
    /// A thread's own memory.
    Local,
    /// Read-only device memory.
    Const,
    /// Parameters of a kernel or of a call.
    Param,
}

/// How a register is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// A predicate.
    Predicate,
    /// Up to 16 bits; held in 32.
    Bits16,
    /// 32 bits.
    Bits32,
    /// 64 bits.
    Bits64,
}

/// A value of an initialiser.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number's bits.
    Bits(u64),
    /// The address of a variable, and an offset.
    Address(String, i64),
}

/// A variable or a parameter.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Where it lives.
    pub space: Space,
    /// Bytes of one element.
    pub element: u32,
    /// Bytes in all.
    pub bytes: u64,
    /// Alignment of its address.
    pub align: u32,
    /// Its initial elements; fewer than it has means that the others are zero.
    pub initial: Vec<Value>,
    /// `.extern`: the size is the launch's business.
    pub linkage: Linkage,
    /// The line that declares it.
    pub line: u32,
}

/// Who provides a variable or function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linkage {
    /// This file.
    Here,
    /// Somebody else.
    Extern,
}

/// A kernel or a device function.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// `.entry`, with what a launch needs to know; none for a `.func`.
    pub entry: Option<Bounds>,
    /// Parameters in order.
    pub params: Vec<Variable>,
    /// Results of a `.func`.
    pub returns: Vec<Variable>,
    /// Variables of its own: shared, local, and the parameters of its calls.
    pub variables: Vec<Variable>,
    /// Width of each register.
    pub registers: Vec<Width>,
    /// The instruction that each label stands before.
    pub labels: Vec<u32>,
    /// The instructions.
    pub body: Vec<Instruction>,
    /// No body: a declaration.
    pub linkage: Linkage,
    /// The line that begins it.
    pub line: u32,
}

/// What a kernel's directives say of its launches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// `.maxntid`: threads a block may have.
    pub max_threads: Option<u32>,
    /// `.reqntid`: the block that it must be launched with.
    pub required_block: Option<[u32; 3]>,
    /// `.minnctapersm`.
    pub min_blocks: Option<u32>,
    /// `.maxnreg`.
    pub max_registers: Option<u32>,
}

/// A register, by its number in the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Register(pub u32);

/// A label, by its number in the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Label(pub u32);

/// A register that the machine fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Special {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    LaneId,
    WarpId,
    NWarpId,
    SmId,
    NSmId,
    GridId,
    LaneMaskEq,
    LaneMaskLe,
    LaneMaskLt,
    LaneMaskGe,
    LaneMaskGt,
    Clock,
    Clock64,
    GlobalTimer,
    /// Where the driver tells a kernel of things; what is in 1 and 2 is the address of a cooperative grid's workspace.
    Environment(u8),
    DynamicSharedBytes,
    TotalSharedBytes,
    ClusterCtaid(u8),
    ClusterNctaid(u8),
    ClusterRank,
    ClusterSize,
    ClusterId(u8),
    NClusterId(u8),
}

/// What an address starts from.
#[derive(Clone, Debug, PartialEq)]
pub enum Base {
    /// A register.
    Register(Register),
    /// A variable or parameter.
    Symbol(String),
    /// Nothing: the offset is the address.
    Zero,
}

/// An operand.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A register.
    Register(Register),
    /// A predicate register, negated.
    Not(Register),
    /// A register that the machine fills.
    Special(Special),
    /// An integer's bits.
    Integer(u64),
    /// The bits of an f32.
    Single(u32),
    /// The bits of an f64.
    Double(u64),
    /// A variable's or function's name, and an offset.
    Symbol(String, i64),
    /// `[base + offset]`.
    Address(Base, i64),
    /// `{a, b, …}`.
    Vector(Vec<Operand>),
    /// `a|b`.
    Pair(Box<Operand>, Box<Operand>),
    /// `(a, b, …)`, of a call.
    List(Vec<Operand>),
    /// A label.
    Label(Label),
    /// `_`.
    Sink,
}

/// The predicate before an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The predicate.
    pub register: Register,
    /// Whether lanes run where it is set, or where it is not.
    pub when: bool,
}

/// An instruction.
#[derive(Clone, Debug)]
pub struct Instruction {
    /// `@p` or `@!p`.
    pub guard: Option<Guard>,
    /// The words between the dots.
    pub opcode: Vec<String>,
    /// The operands.
    pub operands: Vec<Operand>,
    /// Line of the PTX.
    pub line: u32,
    /// Line of the source.
    pub text: Option<Text>,
}
