//! Modules.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::kernel::{Kernel, Symbols};
use super::lower;
use crate::check::{Fault, Kind};
use crate::memory::Memory;
use crate::ptx::{self, Linkage, ParseError, Space, Value, Variable};

/// A PTX file, parsed and decoded. Clones share their variables' places.
#[derive(Clone, Debug)]
pub struct Module {
    kernels: BTreeMap<String, Arc<Kernel>>,
    variables: Vec<Variable>,
    symbols: Arc<Symbols>,
    globals: Vec<Global>,
}

/// A variable of a module.
#[derive(Clone, Debug)]
pub struct Global {
    /// Its name.
    pub name: String,
    /// Its address, once the module's variables are placed.
    pub addr: u64,
    /// How many bytes it has.
    pub bytes: u64,
    /// Alignment of its address.
    pub align: u32,
    /// The elements that it begins with; the others are zero.
    pub initial: Vec<u8>,
}

impl Module {
    /// Parses and decodes. An instruction that is not known is an error here, not where it runs.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let unit = ptx::parse(text)?;
        let placed = |variable: &&Variable| matches!(variable.space, Space::Global | Space::Const);
        let variables: Vec<Variable> = unit.variables.iter().filter(placed).cloned().collect();
        if let Some(missing) = variables.iter().find(|variable| variable.linkage == Linkage::Extern) {
            return Err(ParseError::new(
                missing.line,
                format!("`{}` is extern: linking is not supported", missing.name),
            ));
        }
        let constants = variables.iter().filter(|variable| variable.space == Space::Const);
        let symbols = Arc::new(Symbols {
            names: variables.iter().map(|variable| variable.name.clone()).collect(),
            addresses: variables.iter().map(|_| AtomicU64::new(0)).collect(),
            const_bytes: constants.map(|variable| variable.bytes as u32).sum(),
        });
        let files = Arc::new(unit.files.clone());
        let mut kernels = BTreeMap::new();
        for function in unit.functions.iter().filter(|f| f.entry.is_some() && f.linkage == Linkage::Here) {
            let kernel = lower::kernel(&unit, function, lower::Surroundings { symbols: &symbols, files: &files })?;
            kernels.insert(function.name.clone(), Arc::new(kernel));
        }
        let globals = variables.iter().map(describe).collect::<Result<_, _>>()?;
        Ok(Self { kernels, variables, symbols, globals })
    }

    /// The kernel of a name.
    pub fn kernel(&self, name: &str) -> Option<Arc<Kernel>> {
        self.kernels.get(name).cloned()
    }

    /// The kernels by name.
    pub fn kernels(&self) -> impl Iterator<Item = &Arc<Kernel>> {
        self.kernels.values()
    }

    /// Variables in global and constant memory.
    pub fn globals(&self) -> impl Iterator<Item = &Global> {
        self.globals.iter()
    }

    /// Gives the variables addresses and their initial values.
    pub fn place_globals(&mut self, memory: &Memory) -> Result<(), Fault> {
        for (index, global) in self.globals.iter_mut().enumerate() {
            let full = || Fault::new(Kind::OutOfBounds, format!("no memory left for `{}`", global.name));
            global.addr = memory.alloc(global.bytes.max(1)).ok_or_else(full)?;
            self.symbols.addresses[index].store(global.addr, Relaxed);
        }
        self.initialise(memory)
    }

    /// Gives the variables addresses of the caller's choice, where memory holds their values already, as in a replay. The name
    /// of the first for which there is none is the error.
    pub fn place_globals_at(&mut self, address_of: &dyn Fn(&str) -> Option<u64>) -> Result<(), String> {
        for (index, global) in self.globals.iter_mut().enumerate() {
            global.addr = address_of(&global.name).ok_or_else(|| global.name.clone())?;
            self.symbols.addresses[index].store(global.addr, Relaxed);
        }
        Ok(())
    }

    fn initialise(&self, memory: &Memory) -> Result<(), Fault> {
        for (variable, global) in self.variables.iter().zip(&self.globals) {
            memory.fill(global.addr, &[0], global.bytes)?;
            memory.write(global.addr, &global.initial)?;
            for (at, value) in variable.initial.iter().enumerate() {
                let Value::Address(name, offset) = value else { continue };
                let Some(target) = self.globals.iter().find(|global| global.name == *name) else { continue };
                let address = target.addr.wrapping_add_signed(*offset);
                memory.write(global.addr + at as u64 * u64::from(variable.element), &address.to_le_bytes())?;
            }
        }
        Ok(())
    }
}

fn describe(variable: &Variable) -> Result<Global, ParseError> {
    let element = variable.element as usize;
    let mut initial = Vec::with_capacity(variable.initial.len() * element);
    for value in &variable.initial {
        let bits = match value {
            Value::Bits(bits) => *bits,
            Value::Address(..) if element == 8 => 0,
            Value::Address(name, _) => {
                return Err(ParseError::new(variable.line, format!("the address of `{name}` does not fit an element")));
            }
        };
        initial.extend_from_slice(&bits.to_le_bytes()[..element.min(8)]);
    }
    if initial.len() as u64 > variable.bytes {
        return Err(ParseError::new(
            variable.line,
            format!("`{}` has more initial values than elements", variable.name),
        ));
    }
    let (name, align) = (variable.name.clone(), variable.align);
    Ok(Global { name, addr: 0, bytes: variable.bytes, align, initial })
}
