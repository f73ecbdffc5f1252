//! Lowering: from a function's instructions to a program's steps.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::class;
use super::flow;
use super::kernel::{Kernel, Symbols};
use super::layout::{Home, Layout};
use super::lives::{self, Lives};
use super::program::{Address, Fixed, Info, Operation, Program, Source, Step};
use super::words;
use crate::exec::lanes::Args;
use crate::memory::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW};
use crate::ptx::{Base, Function, Instruction, Operand, ParseError, Register, Space, Unit, Width};

/// Predicate that is always true.
pub(super) const TRUE: u32 = 0;
/// Predicate that holds the carry of extended arithmetic.
pub(crate) const CARRY: u32 = 1;
/// Predicate that a comparison uses on its way.
pub(super) const SCRATCH: u32 = 2;
const FIRST_PREDICATE: u32 = 3;
/// Static shared bytes of a block, beyond what any device has.
const MOST_SHARED: u32 = 1 << 20;
/// Bytes of a thread's own memory.
const MOST_LOCAL: u32 = 512 << 10;
/// Bytes of parameters, of the newest devices.
const MOST_PARAMETERS: u32 = 32_764;

/// What a kernel has around it.
pub(super) struct Surroundings<'a> {
    pub symbols: &'a Arc<Symbols>,
    pub files: &'a Arc<BTreeMap<u32, String>>,
}

/// Decodes a kernel.
pub(super) fn kernel(unit: &Unit, function: &Function, around: Surroundings) -> Result<Kernel, ParseError> {
    // Twice: what is learnt of the registers' lives the first time decides where they live the second time.
    let first = Lowering::run(unit, function, &around, Lives::default())?;
    let lives = lives::find(&first.program, &first.uses);
    let registers = lives.most_alive;
    let lowering = Lowering::run(unit, function, &around, lives)?;
    let (layout, mut program) = (lowering.layout, lowering.program);
    let sizes = [
        ("shared", layout.shared_bytes, MOST_SHARED),
        ("local", layout.local_bytes, MOST_LOCAL),
        (
            "parameter",
            layout.parameters.last().map_or(0, |last| last.offset.saturating_add(last.bytes)),
            MOST_PARAMETERS,
        ),
    ];
    if let Some((what, bytes, most)) = sizes.into_iter().find(|(_, bytes, most)| bytes > most) {
        let what = format!("kernel `{}` has {bytes} {what} bytes, at most {most} are possible", function.name);
        return Err(ParseError::new(function.line, what));
    }
    program.narrow = lowering.lives.narrow.rows;
    program.wide = lowering.lives.wide.rows;
    program.zeroed = lowering.lives.unset;
    flow::find_meets(&mut program);
    Ok(Kernel {
        name: function.name.clone(),
        parameters: layout.parameters.clone(),
        shared_bytes: layout.shared_bytes,
        dynamic_align: layout.dynamic_align,
        local_bytes: layout.local_bytes,
        registers,
        bounds: function.entry.unwrap_or_default(),
        program,
        symbols: around.symbols.clone(),
        files: around.files.clone(),
    })
}

/// The rows that an instruction reads and writes, numbered as they are met.
#[derive(Clone, Debug, Default)]
pub(super) struct Uses {
    pub reads: Vec<(Width, u32)>,
    pub writes: Vec<(Width, u32)>,
}

/// What is known of the function whose body is being lowered.
pub(super) struct Frame {
    pub prefix: String,
    /// Row of each register.
    rows: Vec<u32>,
    widths: Vec<Width>,
}

/// A program in the making.
pub(super) struct Lowering<'a> {
    pub unit: &'a Unit,
    pub layout: Layout,
    pub program: Program,
    constants: HashMap<(Width, Source), u32>,
    pub frames: Vec<Frame>,
    pub calls: u32,
    lives: Lives,
    /// Of each step, and of the one being lowered.
    pub uses: Vec<Uses>,
    using: Uses,
}

/// What lowering an instruction gives.
pub(super) type Lowered = Result<(Args, Operation), ParseError>;

impl<'a> Lowering<'a> {
    fn run(unit: &'a Unit, function: &Function, around: &Surroundings, lives: Lives) -> Result<Self, ParseError> {
        let mut lowering = Lowering {
            unit,
            layout: Layout::new(unit, function, &around.symbols.names),
            program: Program { predicates: FIRST_PREDICATE, ..Program::default() },
            constants: HashMap::new(),
            frames: Vec::new(),
            calls: 0,
            lives,
            uses: Vec::new(),
            using: Uses::default(),
        };
        lowering.body(function, String::new())?;
        Ok(lowering)
    }

    /// Appends a function's body; `ret` of an inlined function leads behind it.
    pub fn body(&mut self, function: &Function, prefix: String) -> Result<(), ParseError> {
        let rows = function.registers.iter().map(|&width| self.new_row(width)).collect();
        let inlined = !prefix.is_empty();
        self.frames.push(Frame { prefix, rows, widths: function.registers.clone() });
        let mut starts = Vec::with_capacity(function.body.len() + 1);
        let mut jumps = Vec::new();
        let mut returns = Vec::new();
        for instruction in &function.body {
            starts.push(self.program.steps.len() as u32);
            let here = self.program.steps.len();
            if !words::NAMES.contains(&instruction.opcode[0].as_str()) {
                return fail(instruction, "this instruction is not known");
            }
            match (instruction.opcode[0].as_str(), instruction.operands.first()) {
                ("bra", Some(Operand::Label(label))) => {
                    self.push(instruction, Args::default(), Operation::Branch { target: 0, meet: 0 })?;
                    jumps.push((here, label.0));
                }
                ("ret", _) if inlined => {
                    self.push(instruction, Args::default(), Operation::Branch { target: 0, meet: 0 })?;
                    returns.push(here);
                }
                ("call", _) => self.call(instruction)?,
                _ => {
                    let (args, operation) = words::lower(self, instruction)?;
                    self.push(instruction, args, operation)?;
                }
            }
        }
        starts.push(self.program.steps.len() as u32);
        if !inlined {
            self.end(function)?;
        }
        for (step, label) in jumps {
            let target = starts[function.labels[label as usize] as usize];
            self.program.steps[step].operation = Operation::Branch { target, meet: 0 };
        }
        for step in returns {
            let target = self.program.steps.len() as u32;
            self.program.steps[step].operation = Operation::Branch { target, meet: 0 };
        }
        self.frames.pop();
        Ok(())
    }

    /// A body may end in a label with nothing behind it: the end is a return.
    fn end(&mut self, function: &Function) -> Result<(), ParseError> {
        let line = function.body.last().map_or(function.line, |last| last.line);
        let text = function.body.last().and_then(|last| last.text);
        let opcode = vec!["ret".to_string()];
        let instruction = Instruction { guard: None, opcode, operands: Vec::new(), line, text };
        self.push(&instruction, Args::default(), Operation::Exit)
    }

    pub fn push(&mut self, instruction: &Instruction, args: Args, operation: Operation) -> Result<(), ParseError> {
        let (guard, flip) = match instruction.guard {
            None => (TRUE, 0),
            Some(guard) => {
                let row = self.predicate_row(guard.register, instruction)?;
                (row, if guard.when { 0 } else { !0 })
            }
        };
        let class = class::class(instruction);
        let opcode = instruction.opcode.join(".");
        self.program.infos.push(Info { line: instruction.line, text: instruction.text, opcode, class });
        self.program.steps.push(Step { guard, flip, args, operation });
        self.uses.push(std::mem::take(&mut self.using));
        Ok(())
    }

    pub fn new_row(&mut self, width: Width) -> u32 {
        let count = match width {
            Width::Predicate => &mut self.program.predicates,
            Width::Bits16 | Width::Bits32 => &mut self.program.narrow,
            Width::Bits64 => &mut self.program.wide,
        };
        *count += 1;
        *count - 1
    }

    /// The row that a register or constant was given.
    fn settled(&self, width: Width, row: u32) -> u32 {
        match width {
            Width::Predicate => row,
            Width::Bits16 | Width::Bits32 => self.lives.narrow.row(row),
            Width::Bits64 => self.lives.wide.row(row),
        }
    }

    fn reading(&mut self, width: Width, row: u32) -> u32 {
        self.using.reads.push((width, row));
        self.settled(width, row)
    }

    fn writing(&mut self, width: Width, row: u32) -> u32 {
        self.using.writes.push((width, row));
        self.settled(width, row)
    }

    /// Whether nobody reads what the instruction being lowered writes.
    pub fn is_dead_here(&self) -> bool {
        self.lives.dead.contains(&(self.program.steps.len() as u32))
    }

    fn frame(&self) -> &Frame {
        self.frames.last().expect("lowering happens in a function")
    }

    /// Width of a register.
    pub fn width(&self, register: Register) -> Width {
        self.frame().widths[register.0 as usize]
    }

    /// A row that holds a constant, or what is fixed before a warp begins.
    pub fn fixed(&mut self, width: Width, source: Source) -> u32 {
        let width = if width == Width::Bits16 { Width::Bits32 } else { width };
        let row = match self.constants.get(&(width, source)) {
            Some(&row) => row,
            None => {
                let row = self.new_row(width);
                self.constants.insert((width, source), row);
                self.program.fixed.push(Fixed { width, row: self.settled(width, row), source });
                row
            }
        };
        self.settled(width, row)
    }

    /// The row of an operand of this width.
    pub fn row(&mut self, operand: &Operand, width: Width, at: &Instruction) -> Result<u32, ParseError> {
        let narrow = matches!(width, Width::Bits16 | Width::Bits32);
        Ok(match operand {
            Operand::Register(register) => {
                let own = self.width(*register);
                if width == Width::Predicate || own == Width::Predicate || narrow != (own != Width::Bits64) {
                    return fail(at, format!("a register of {own:?} where {width:?} is due"));
                }
                let row = self.frame().rows[register.0 as usize];
                self.reading(width, row)
            }
            Operand::Integer(bits) => {
                let bits = if narrow { *bits as u32 as u64 } else { *bits };
                self.fixed(width, Source::Bits(bits))
            }
            Operand::Single(bits) => self.fixed(width, Source::Bits(u64::from(*bits))),
            Operand::Double(bits) if narrow => {
                let single = f64::from_bits(*bits) as f32;
                self.fixed(width, Source::Bits(u64::from(single.to_bits())))
            }
            Operand::Double(bits) => self.fixed(width, Source::Bits(*bits)),
            Operand::Special(special) => self.fixed(width, Source::Special(*special)),
            Operand::Symbol(name, offset) => {
                let (_, source) = self.home(name, *offset, at)?;
                self.fixed(width, source)
            }
            other => return fail(at, format!("{other:?} where a value is due")),
        })
    }

    /// The row of a destination, and whether it is wide.
    pub fn destination(&mut self, operand: &Operand, at: &Instruction) -> Result<(u32, Width), ParseError> {
        match operand {
            Operand::Register(register) => {
                let (row, width) = (self.frame().rows[register.0 as usize], self.width(*register));
                Ok((self.writing(width, row), width))
            }
            Operand::Sink => Ok((self.sink(Width::Bits32), Width::Bits32)),
            other => fail(at, format!("{other:?} where a register is due")),
        }
    }

    /// A row that nobody reads.
    pub fn sink(&mut self, width: Width) -> u32 {
        let row = self.new_row(width);
        self.writing(width, row)
    }

    /// The predicate that an instruction sets.
    pub fn predicate_destination(&mut self, operand: &Operand, at: &Instruction) -> Result<u32, ParseError> {
        match operand {
            Operand::Register(register) => self.predicate_row(*register, at),
            Operand::Sink => Ok(self.new_row(Width::Predicate)),
            other => fail(at, format!("{other:?} where a predicate is due")),
        }
    }

    /// The row of a register of any width but a predicate's, or of a constant of the width given.
    pub fn value(&mut self, operand: &Operand, otherwise: Width, at: &Instruction) -> Result<(u32, bool), ParseError> {
        let width = match operand {
            Operand::Register(register) => self.width(*register),
            _ => otherwise,
        };
        Ok((self.row(operand, width, at)?, width == Width::Bits64))
    }

    fn predicate_row(&self, register: Register, at: &Instruction) -> Result<u32, ParseError> {
        if self.width(register) != Width::Predicate {
            return fail(at, "a predicate is due");
        }
        Ok(self.frame().rows[register.0 as usize])
    }

    /// A predicate and what it is xored with.
    pub fn predicate(&mut self, operand: &Operand, at: &Instruction) -> Result<(u32, u32), ParseError> {
        match operand {
            Operand::Register(register) => Ok((self.predicate_row(*register, at)?, 0)),
            Operand::Not(register) => Ok((self.predicate_row(*register, at)?, !0)),
            Operand::Integer(value) => Ok((TRUE, if *value == 0 { !0 } else { 0 })),
            other => fail(at, format!("{other:?} where a predicate is due")),
        }
    }

    /// Where a name leads, as a space and the content of a row.
    fn home(&self, name: &str, offset: i64, at: &Instruction) -> Result<(Space, Source), ParseError> {
        let Some(home) = self.layout.find(&self.frame().prefix, name) else {
            return fail(at, format!("`{name}` is not declared"));
        };
        let plus = |base: u32| Source::Bits(i64::from(base).wrapping_add(offset) as u64);
        Ok(match home {
            Home::Global(index, space) => (space, Source::Global { index, offset }),
            Home::Shared(base) => (Space::Shared, plus(base)),
            Home::Local(base) => (Space::Local, plus(base)),
            Home::Parameter(base) => (Space::Param, plus(base)),
        })
    }

    /// An address operand, in the space that the instruction names.
    pub fn address(&mut self, operand: &Operand, space: Space, at: &Instruction) -> Result<Address, ParseError> {
        let Operand::Address(base, offset) = operand else {
            return fail(at, format!("{operand:?} where an address is due"));
        };
        match base {
            Base::Register(register) => {
                let wide = match self.width(*register) {
                    Width::Bits64 => true,
                    Width::Bits32 => false,
                    _ => return fail(at, "an address register has 32 or 64 bits"),
                };
                let row = self.frame().rows[register.0 as usize];
                let row = self.reading(self.width(*register), row);
                Ok(Address { space, row, wide, offset: *offset })
            }
            Base::Zero => {
                let row = self.fixed(Width::Bits64, Source::Bits(*offset as u64));
                Ok(Address { space, row, wide: true, offset: 0 })
            }
            Base::Symbol(name) => {
                let (home, mut source) = self.home(name, *offset, at)?;
                // A name used with a generic instruction stands for its place in its window.
                if let (Space::Generic, Source::Bits(offset)) = (space, source) {
                    let window = match home {
                        Space::Shared => SHARED_WINDOW,
                        Space::Param => PARAM_WINDOW,
                        _ => LOCAL_WINDOW,
                    };
                    source = Source::Bits(window + offset);
                }
                let space = if home == Space::Local && space == Space::Param { Space::Local } else { space };
                let row = self.fixed(Width::Bits64, source);
                Ok(Address { space, row, wide: true, offset: 0 })
            }
        }
    }

    /// A kernel parameter at a fixed offset, as the row that holds it; none if the address is not that.
    pub fn parameter(&mut self, operand: &Operand, kind: &str, width: Width) -> Option<u32> {
        let Operand::Address(Base::Symbol(name), offset) = operand else { return None };
        let Some(Home::Parameter(base)) = self.layout.find(&self.frame().prefix, name) else { return None };
        let bytes = words::bytes(kind)?;
        let source = Source::Parameter {
            offset: base.checked_add_signed(*offset as i32)?,
            bytes,
            signed: kind.starts_with('s'),
        };
        Some(self.fixed(width, source))
    }
}

/// An error at an instruction.
pub(super) fn fail<T>(at: &Instruction, what: impl Into<String>) -> Result<T, ParseError> {
    Err(ParseError::new(at.line, format!("`{}`: {}", at.opcode.join("."), what.into())))
}
