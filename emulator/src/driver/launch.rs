//! Launches: what a driver checks before a kernel runs, and what becomes of a context whose kernel faults.

use std::ffi::{c_uint, c_void};
use std::sync::Arc;

use super::context::{self, Context};
use super::function::{self, Function};
use super::guard::exports;
use super::handle::{Handle, lock};
use super::history::Shape;
use super::operation::Operation;
use super::status::{Failure, Outcome, Status};
use super::stream::submit;
use crate::check::Kind;
use crate::device::{BLOCK_LIMIT, GRID_LIMIT, PARAMETER_BYTES, THREADS_PER_BLOCK};
use crate::options::Faults;
use crate::{Cooperation, Launch, Settings};

const PARAM_END: usize = 0;
const PARAM_BUFFER: usize = 1;
const PARAM_BUFFER_BYTES: usize = 2;

const ATTRIBUTE_COOPERATIVE: c_uint = 2;
const ATTRIBUTE_CLUSTER: c_uint = 4;

/// `CUlaunchConfig`.
#[repr(C)]
pub struct LaunchConfig {
    grid: [c_uint; 3],
    block: [c_uint; 3],
    dynamic_shared: c_uint,
    stream: Handle,
    attributes: *const LaunchAttribute,
    attribute_count: c_uint,
}

/// `CUlaunchAttribute`: a number, and a value of 64 bytes whose first words are all that matters here.
#[repr(C)]
pub struct LaunchAttribute {
    number: c_uint,
    pad: c_uint,
    value: [c_uint; 16],
}

/// A launch that was found valid.
pub struct Prepared {
    function: Arc<Function>,
    shape: Shape,
    params: Vec<u8>,
    cooperation: Cooperation,
}

/// Where a caller has the parameters: one pointer each, or packed.
#[derive(Clone, Copy)]
struct Arguments {
    each: *const *const c_void,
    packed: *const *const c_void,
}

impl Prepared {
    fn new(context: &Context, function: Arc<Function>, shape: Shape, cooperation: Cooperation) -> Outcome<Self> {
        check_shape(&function, shape)?;
        check_block(context, &function, shape)?;
        if matches!(cooperation, Cooperation::Grid) {
            check_resident(context, &function, shape)?;
        }
        Ok(Self { function, shape, params: Vec::new(), cooperation })
    }

    /// Runs the kernel. A fault corrupts the context.
    pub fn run(&self, context: &Context) -> Outcome {
        let options = lock(&context.options).clone();
        let settings = Settings {
            seed: options.seed,
            checks: options.checks,
            threads: options.threads,
            device: context.device.clone(),
        };
        let kernel = &self.function.kernel;
        let launch = Launch {
            kernel,
            grid: self.shape.grid,
            block: self.shape.block,
            dynamic_shared: self.shape.dynamic_shared,
            params: &self.params,
            cooperative: self.cooperation,
        };
        let _turn = lock(&context.launching);
        let run = context.history.begin(kernel.name(), self.shape);
        let recording = run.recording(context, &options, &self.function.module, &launch)?;
        match crate::launch(&launch, &context.memory, &settings) {
            Ok(counters) => {
                run.succeed(counters, options.kept_launches);
                recording.map_or(Ok(()), |recording| recording.finish(&context.memory)).map_err(unrecorded)
            }
            Err(report) => {
                let failure = status_of(report.fault.kind).because(report.to_string());
                if failure.status != Status::InvalidValue {
                    context.corrupt(&failure);
                }
                let recorded = recording.map_or(Ok(()), |recording| recording.fail(&report));
                run.fail(report, options.reports);
                recorded.map_err(unrecorded)?;
                match options.faults {
                    Faults::FailTheNextCall if context.check().is_err() => Ok(()),
                    _ => Err(failure),
                }
            }
        }
    }
}

fn unrecorded(error: anyhow::Error) -> Failure {
    Status::OperatingSystem.because(format!("the bundle was not written: {error:#}"))
}

/// What a driver calls this kind of fault.
fn status_of(kind: Kind) -> Status {
    match kind {
        Kind::OutOfBounds | Kind::UseAfterFree | Kind::ReadOnly => Status::IllegalAddress,
        Kind::Misaligned => Status::MisalignedAddress,
        Kind::Assert => Status::Assert,
        Kind::InvalidLaunch | Kind::InvalidFree => Status::InvalidValue,
        Kind::InvalidOperation => Status::IllegalInstruction,
        Kind::Hang => Status::LaunchTimeout,
        Kind::Uninitialised
        | Kind::SharedRace
        | Kind::GlobalRace
        | Kind::BarrierDivergence
        | Kind::MissingLanes
        | Kind::AsyncNotWaited
        | Kind::Trap => Status::LaunchFailed,
    }
}

fn check_shape(function: &Function, shape: Shape) -> Outcome {
    let within = |sizes: [u32; 3], limits: [u32; 3]| (0..3).all(|axis| (1..=limits[axis]).contains(&sizes[axis]));
    if !within(shape.grid, GRID_LIMIT) {
        return Err(function.refusal(format!("a grid of {:?} blocks, possible are 1 to {GRID_LIMIT:?}", shape.grid)));
    }
    if !within(shape.block, BLOCK_LIMIT) {
        return Err(
            function.refusal(format!("a block of {:?} threads, possible are 1 to {BLOCK_LIMIT:?}", shape.block))
        );
    }
    Ok(())
}

fn check_block(context: &Context, function: &Function, shape: Shape) -> Outcome {
    let (threads, most) = (shape.threads(), function.threads_limit());
    if threads > most {
        let whose = if most < THREADS_PER_BLOCK { "the kernel's launch bounds allow" } else { "there can be" };
        return Err(function.refusal(format!("a block of {threads} threads, {whose} {most}")));
    }
    if let Some(required) = function.kernel.required_block()
        && required != shape.block
    {
        return Err(function.refusal(format!("a block of {:?}, the kernel requires {required:?}", shape.block)));
    }
    let limit = function.dynamic_shared_limit();
    if shape.dynamic_shared > limit {
        return Err(function.refusal(format!(
            "{} dynamic shared bytes, {limit} allowed: raise CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, \
             up to {} here",
            shape.dynamic_shared,
            context.device.shared_per_block_optin.saturating_sub(function.kernel.shared_bytes()),
        )));
    }
    Ok(())
}

/// Blocks that wait for each other must all be resident.
fn check_resident(context: &Context, function: &Function, shape: Shape) -> Outcome {
    let blocks = shape.grid.iter().map(|&blocks| u64::from(blocks)).product::<u64>();
    let occupancy = context.device.occupancy(function.footprint(shape.threads(), shape.dynamic_shared));
    let resident = u64::from(occupancy.blocks) * u64::from(context.device.multiprocessors);
    if blocks <= resident {
        return Ok(());
    }
    let name = function.kernel.name();
    Err(Status::CooperativeLaunchTooLarge
        .because(format!("kernel `{name}`: {blocks} blocks, {resident} can be resident")))
}

/// Gathers the parameters into the bytes that the kernel reads.
///
/// # Safety
/// `arguments` are as the driver's interface has them for this kernel.
unsafe fn gather(function: &Function, arguments: Arguments) -> Outcome<Vec<u8>> {
    let parameters = function.kernel.parameters();
    let bytes = parameters.last().map_or(0, |last| (last.offset + last.bytes) as usize);
    if bytes > PARAMETER_BYTES {
        return Err(function.refusal(format!("{bytes} bytes of parameters, at most {PARAMETER_BYTES}")));
    }
    if !arguments.packed.is_null() {
        // SAFETY: this function's contract.
        return unsafe { unpack(function, arguments.packed, bytes) };
    }
    let mut params = vec![0; bytes];
    if arguments.each.is_null() && !parameters.is_empty() {
        return Err(function.refusal(format!("{} parameters wanted, none given", parameters.len())));
    }
    for (index, parameter) in parameters.iter().enumerate() {
        let (offset, bytes) = (parameter.offset as usize, parameter.bytes as usize);
        // SAFETY: this function's contract: one pointer for each parameter, to that parameter's bytes.
        unsafe {
            let from = arguments.each.add(index).read().cast::<u8>();
            if from.is_null() {
                return Err(function.refusal(format!("the pointer to parameter {index} is null")));
            }
            std::ptr::copy_nonoverlapping(from, params[offset..offset + bytes].as_mut_ptr(), bytes);
        }
    }
    Ok(params)
}

/// # Safety
/// `words` is a list of pairs that ends in `CU_LAUNCH_PARAM_END`.
unsafe fn unpack(function: &Function, words: *const *const c_void, bytes: usize) -> Outcome<Vec<u8>> {
    let (mut at, mut buffer, mut given) = (0, std::ptr::null::<u8>(), 0);
    // SAFETY: this function's contract.
    unsafe {
        loop {
            match words.add(at).read() as usize {
                PARAM_END => break,
                PARAM_BUFFER => buffer = words.add(at + 1).read().cast(),
                PARAM_BUFFER_BYTES => given = words.add(at + 1).read().cast::<usize>().read(),
                other => return Err(function.refusal(format!("no launch option has the number {other}"))),
            }
            at += 2;
        }
        if buffer.is_null() || given < bytes {
            return Err(function.refusal(format!("{given} bytes of parameters given, {bytes} wanted")));
        }
        Ok(std::slice::from_raw_parts(buffer, bytes).to_vec())
    }
}

/// A launch as it comes through the C interface.
struct Request {
    function: Handle,
    shape: Shape,
    stream: Handle,
    cooperation: Cooperation,
    arguments: Arguments,
}

unsafe fn start(request: Request) -> Outcome {
    let (context, stream) = context::stream(request.stream)?;
    let function = function::find(request.function)?;
    let mut prepared = Prepared::new(&context, function, request.shape, request.cooperation).inspect_err(announce)?;
    // SAFETY: the C caller's promise.
    prepared.params = unsafe { gather(&prepared.function, request.arguments) }.inspect_err(announce)?;
    submit(&context, &stream, Operation::Launch(Arc::new(prepared)))
}

// A program sees the code alone, and an invalid value could be any.
fn announce(failure: &Failure) {
    eprintln!("glimmer-emulator: launch refused: {failure}");
}

unsafe fn cooperation(config: &LaunchConfig) -> Outcome<Cooperation> {
    let mut cooperation = Cooperation::None;
    for index in 0..config.attribute_count as usize {
        // SAFETY: the C caller's promise: as many attributes as the configuration says.
        let attribute = unsafe { &*config.attributes.add(index) };
        match attribute.number {
            ATTRIBUTE_COOPERATIVE if attribute.value[0] != 0 => cooperation = Cooperation::Grid,
            ATTRIBUTE_CLUSTER if attribute.value[..3].iter().any(|&blocks| blocks > 1) => {
                return Err(Status::NotSupported.because("clusters of more than one block"));
            }
            // Hints of order, priority and caching change no result.
            _ => {}
        }
    }
    Ok(cooperation)
}

exports! {
    fn cuLaunchKernel(function: Handle, grid_x: c_uint, grid_y: c_uint, grid_z: c_uint, block_x: c_uint,
                      block_y: c_uint, block_z: c_uint, dynamic_shared: c_uint, stream: Handle, each: *const *const c_void,
                      packed: *const *const c_void) {
        let shape = Shape { grid: [grid_x, grid_y, grid_z], block: [block_x, block_y, block_z], dynamic_shared };
        let arguments = Arguments { each, packed };
        // SAFETY: the C caller's promise.
        unsafe { start(Request { function, shape, stream, cooperation: Cooperation::None, arguments }) }
    }

    fn cuLaunchCooperativeKernel(function: Handle, grid_x: c_uint, grid_y: c_uint, grid_z: c_uint, block_x: c_uint,
                                 block_y: c_uint, block_z: c_uint, dynamic_shared: c_uint, stream: Handle,
                                 each: *const *const c_void) {
        let shape = Shape { grid: [grid_x, grid_y, grid_z], block: [block_x, block_y, block_z], dynamic_shared };
        let arguments = Arguments { each, packed: std::ptr::null() };
        // SAFETY: the C caller's promise.
        unsafe { start(Request { function, shape, stream, cooperation: Cooperation::Grid, arguments }) }
    }

    fn cuLaunchKernelEx(config: *const LaunchConfig, function: Handle, each: *const *const c_void,
                        packed: *const *const c_void) {
        // SAFETY: the C caller's promise.
        let config = unsafe { config.as_ref() }.ok_or(Status::InvalidValue)?;
        let shape = Shape { grid: config.grid, block: config.block, dynamic_shared: config.dynamic_shared };
        let arguments = Arguments { each, packed };
        // SAFETY: the C caller's promise.
        unsafe {
            let cooperation = cooperation(config)?;
            start(Request { function, shape, stream: config.stream, cooperation, arguments })
        }
    }

    fn cuProfilerStart() {
        context::current()?;
        Ok(())
    }

    fn cuProfilerStop() {
        context::current()?;
        Ok(())
    }
}
