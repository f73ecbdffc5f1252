//! Where a function's variables lie.

use std::collections::{BTreeMap, HashMap};

use super::kernel::Parameter;
use crate::ptx::{Function, Linkage, Space, Unit, Variable};

/// Where a name leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// A variable of the module, by its index.
    Global(u32, Space),
    /// An offset in shared memory.
    Shared(u32),
    /// An offset in the thread's memory.
    Local(u32),
    /// An offset among the kernel's parameters.
    Parameter(u32),
}

/// The homes of all names that a kernel can use.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    homes: HashMap<String, Home>,
    pub parameters: Vec<Parameter>,
    pub shared_bytes: u32,
    pub dynamic_align: u32,
    pub local_bytes: u32,
}

impl Layout {
    /// Lays out a kernel's variables.
    pub fn new(unit: &Unit, kernel: &Function, names: &[String]) -> Self {
        let mut layout = Self { dynamic_align: 16, ..Self::default() };
        for (index, name) in names.iter().enumerate() {
            let space =
                unit.variables.iter().find(|variable| variable.name == *name).map_or(Space::Global, |v| v.space);
            layout.homes.insert(name.clone(), Home::Global(index as u32, space));
        }
        let mut at = 0u32;
        for param in &kernel.params {
            at = up(at, param.align);
            layout.homes.insert(param.name.clone(), Home::Parameter(at));
            layout.parameters.push(Parameter { offset: at, bytes: bytes_of(param) });
            at = at.saturating_add(bytes_of(param));
        }
        // A shared variable at file scope is laid out in every kernel that names it; here, in every kernel: names are not
        // looked at before they are met. Those that a kernel does not use are left out by the compiler already.
        let used = |variable: &&Variable| variable.space == Space::Shared && uses(kernel, unit, &variable.name);
        layout.shared(unit.variables.iter().filter(used).chain(&kernel.variables));
        layout.locals("", &kernel.variables);
        layout
    }

    fn shared<'a>(&mut self, variables: impl Iterator<Item = &'a Variable>) {
        let mut dynamic = Vec::new();
        for variable in variables.filter(|variable| variable.space == Space::Shared) {
            if variable.linkage == Linkage::Extern || variable.bytes == 0 {
                self.dynamic_align = self.dynamic_align.max(variable.align);
                dynamic.push(variable.name.clone());
                continue;
            }
            let at = up(self.shared_bytes, variable.align);
            self.homes.insert(variable.name.clone(), Home::Shared(at));
            self.shared_bytes = at.saturating_add(bytes_of(variable));
        }
        for name in dynamic {
            let at = self.dynamic_start();
            self.homes.insert(name, Home::Shared(at));
        }
    }

    /// Where dynamic shared memory begins.
    pub fn dynamic_start(&self) -> u32 {
        up(self.shared_bytes, self.dynamic_align)
    }

    /// Lays out local variables, and the parameters of calls, which live beside them, under a prefix of the function's.
    pub fn locals(&mut self, prefix: &str, variables: &[Variable]) {
        // Each call declares its parameters in a scope of its own, often under the same names: one place, as large as the
        // largest, serves them all.
        let mut places: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
        for variable in variables.iter().filter(|v| matches!(v.space, Space::Local | Space::Param)) {
            let place = places.entry(&variable.name).or_default();
            *place = (place.0.max(variable.align), place.1.max(bytes_of(variable)));
        }
        for (name, (align, bytes)) in places {
            let at = up(self.local_bytes, align);
            self.homes.insert(format!("{prefix}{name}"), Home::Local(at));
            self.local_bytes = at.saturating_add(bytes);
        }
    }

    /// Gives a home a further name.
    pub fn alias(&mut self, name: &str, of: &str) {
        if let Some(&home) = self.homes.get(of) {
            self.homes.insert(name.to_owned(), home);
        }
    }

    /// Where a name leads, seen from a function with this prefix.
    pub fn find(&self, prefix: &str, name: &str) -> Option<Home> {
        if prefix.is_empty() {
            return self.homes.get(name).copied();
        }
        self.homes.get(&format!("{prefix}{name}")).or_else(|| self.homes.get(name)).copied()
    }
}

/// Sizes that no device has are caught once everything is laid out; until then they must not wrap around.
fn bytes_of(variable: &Variable) -> u32 {
    u32::try_from(variable.bytes).unwrap_or(u32::MAX)
}

fn up(at: u32, align: u32) -> u32 {
    at.checked_next_multiple_of(align.max(1)).unwrap_or(u32::MAX)
}

/// Whether a kernel, or a function of the file that it may call, names a variable.
fn uses(kernel: &Function, unit: &Unit, name: &str) -> bool {
    let named =
        |function: &Function| function.body.iter().any(|i| format!("{:?}", i.operands).contains(&format!("{name:?}")));
    named(kernel) || unit.functions.iter().filter(|f| f.entry.is_none()).any(named)
}
