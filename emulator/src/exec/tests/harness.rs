//! A small host for kernels in tests.

use crate::check::Report;
use crate::count::Counters;
use crate::decode::Module;
use crate::exec::{Cooperation, Launch, Settings, launch};
use crate::memory::Memory;

/// A module and memory for it.
pub struct Host {
    pub module: Module,
    pub memory: Memory,
    pub settings: Settings,
}

/// A parameter.
#[derive(Clone, Copy)]
pub enum Param {
    Wide(u64),
    Narrow(u32),
    Float(f32),
}

/// Shape of a launch: blocks, threads, dynamic shared bytes.
#[derive(Clone, Copy)]
pub struct Shape(pub [u32; 3], pub [u32; 3], pub u32);

/// So many blocks of so many threads.
pub fn line(blocks: u32, threads: u32) -> Shape {
    Shape([blocks, 1, 1], [threads, 1, 1], 0)
}

impl Host {
    pub fn new(ptx: &str) -> Self {
        let memory = Memory::new(1 << 30);
        let mut module = Module::parse(ptx).unwrap_or_else(|error| panic!("{error}"));
        module.place_globals(&memory).unwrap();
        Self { module, memory, settings: Settings { threads: 1, ..Settings::default() } }
    }

    /// A host for a kernel `k` with this body, parameters `a` to `d` of 64 bits, and registers of every kind.
    pub fn of_body(body: &str) -> Self {
        Self::new(&kernel(body))
    }

    pub fn upload<T: Copy>(&self, values: &[T]) -> u64 {
        let bytes = std::mem::size_of_val(values);
        // SAFETY: plain numbers are bytes.
        let data = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), bytes) };
        let address = self.memory.alloc(bytes as u64).unwrap();
        self.memory.write(address, data).unwrap();
        address
    }

    pub fn download<T: Copy + Default>(&self, address: u64, count: usize) -> Vec<T> {
        let mut values = vec![T::default(); count];
        // SAFETY: as above.
        let data = unsafe {
            std::slice::from_raw_parts_mut(values.as_mut_ptr().cast::<u8>(), std::mem::size_of_val(values.as_slice()))
        };
        self.memory.read(address, data).unwrap();
        values
    }

    pub fn run(&self, name: &str, shape: Shape, params: &[Param]) -> Result<Counters, Report> {
        self.run_as(name, shape, params, Cooperation::None)
    }

    pub fn run_as(&self, name: &str, shape: Shape, params: &[Param], how: Cooperation) -> Result<Counters, Report> {
        let kernel = self.module.kernel(name).unwrap();
        let mut bytes = Vec::new();
        for (place, param) in kernel.parameters().iter().zip(params) {
            bytes.resize(place.offset as usize, 0);
            match param {
                Param::Wide(value) => bytes.extend(value.to_le_bytes()),
                Param::Narrow(value) => bytes.extend(value.to_le_bytes()),
                Param::Float(value) => bytes.extend(value.to_le_bytes()),
            }
        }
        let launched = Launch {
            kernel: &kernel,
            grid: shape.0,
            block: shape.1,
            dynamic_shared: shape.2,
            params: &bytes,
            cooperative: how,
        };
        launch(&launched, &self.memory, &self.settings)
    }
}

/// PTX of a kernel `k` around a body.
pub fn kernel(body: &str) -> String {
    format!(
        ".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 a, .param .u64 b, .param .u64 c, .param .u64 d)\n{{\n\
         .reg .pred %p<16>; .reg .b16 %h<32>; .reg .b32 %r<64>; .reg .f32 %f<64>; .reg .b64 %rd<32>; .reg .f64 %fd<32>;\n\
         .shared .align 16 .b8 tile[4096];\n{body}\nret;\n}}\n"
    )
}
