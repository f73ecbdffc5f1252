//! Processes that work on one thing, on one host or on many.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::interrupted;
use crate::backend::Element;

/// What a process says first to another one, before its number and how many there are.
const GREETING: [u8; 8] = *b"glimmer1";
/// How often a process that waits for others looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long one that has connected may take to say who it is.
const TO_GREET: Duration = Duration::from_secs(10);

/// This process among others, numbered from 0, each of which has a connection to the first. All of them make the same
/// calls in the same order, and a call returns when all that it needs of the others is there.
pub struct Processes {
    rank: usize,
    size: usize,
    /// Of the first process, to the others in their order; of another, to the first.
    connections: Vec<TcpStream>,
}

impl Processes {
    /// Meets the others at `address`, a host and a port of the first process, and waits until all are there.
    ///
    /// # Errors
    /// An address that cannot be used, a process that is of another number of them or that is there twice, a Ctrl-C.
    pub fn meet(address: &str, rank: usize, size: usize) -> Result<Self> {
        ensure!(rank < size, "process {rank} of {size}: they are numbered from 0");
        let connections = if rank == 0 {
            let listener = TcpListener::bind(address);
            accept(&listener.with_context(|| format!("cannot wait for the other processes at {address}"))?, size)?
        } else {
            vec![connect(address, rank, size)?]
        };
        Ok(Self { rank, size, connections })
    }

    /// So many, for as many threads of this process.
    ///
    /// # Errors
    /// None where a host can connect to itself.
    pub fn threads(size: usize) -> Result<Vec<Self>> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let others = (1..size).map(|rank| {
            let connections = vec![connect(&address, rank, size)?];
            Ok(Self { rank, size, connections })
        });
        let others = others.collect::<Result<Vec<_>>>()?;
        let first = Self { rank: 0, size, connections: accept(&listener, size)? };
        Ok(std::iter::once(first).chain(others).collect())
    }

    /// This one's number.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many there are.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Makes `values` their sum over all processes, added up in the order of these: all get the same bits.
    ///
    /// # Errors
    /// A process that has gone, or that adds up another number of values.
    pub fn sum<E: Element>(&mut self, values: &mut [E]) -> Result<()> {
        if self.rank > 0 {
            self.send(0, bytemuck::cast_slice(values))?;
            return self.receive_into(0, bytemuck::cast_slice_mut(values));
        }
        let mut theirs = vec![E::zeroed(); values.len()];
        for place in 0..self.connections.len() {
            self.receive_into(place, bytemuck::cast_slice_mut(&mut theirs))?;
            for (sum, &x) in values.iter_mut().zip(&theirs) {
                *sum = E::from_f64(sum.to_f64() + x.to_f64());
            }
        }
        (0..self.connections.len()).try_for_each(|place| self.send(place, bytemuck::cast_slice(values)))
    }

    /// What the first process has, for all.
    ///
    /// # Errors
    /// A process that has gone.
    pub fn share(&mut self, own: Vec<u8>) -> Result<Vec<u8>> {
        if self.rank > 0 {
            let len = self.receive_len(0)?;
            let mut bytes = vec![0; len];
            self.read(0, &mut bytes)?;
            return Ok(bytes);
        }
        (0..self.connections.len()).try_for_each(|place| self.send(place, &own))?;
        Ok(own)
    }

    /// The process at the other end of a connection.
    fn peer(&self, place: usize) -> usize {
        if self.rank == 0 { place + 1 } else { 0 }
    }

    fn send(&mut self, place: usize, bytes: &[u8]) -> Result<()> {
        let peer = self.peer(place);
        let connection = &mut self.connections[place];
        let sent = connection.write_all(&(bytes.len() as u64).to_le_bytes()).and_then(|()| connection.write_all(bytes));
        sent.with_context(|| gone(peer))
    }

    fn receive_len(&mut self, place: usize) -> Result<usize> {
        let mut len = [0; 8];
        self.read(place, &mut len)?;
        Ok(usize::try_from(u64::from_le_bytes(len))?)
    }

    fn receive_into(&mut self, place: usize, bytes: &mut [u8]) -> Result<()> {
        let (len, wanted) = (self.receive_len(place)?, bytes.len());
        ensure!(
            len == wanted,
            "process {} has sent {len} bytes where {wanted} are due: all have to run the same program on the same settings",
            self.peer(place)
        );
        self.read(place, bytes)
    }

    fn read(&mut self, place: usize, bytes: &mut [u8]) -> Result<()> {
        let peer = self.peer(place);
        self.connections[place].read_exact(bytes).with_context(|| gone(peer))
    }
}

fn gone(peer: usize) -> String {
    format!("process {peer} has gone: its own messages say why")
}

/// The first process's side: a connection to each of the others, in their order.
fn accept(listener: &TcpListener, size: usize) -> Result<Vec<TcpStream>> {
    listener.set_nonblocking(true)?;
    let mut others: Vec<Option<TcpStream>> = (1..size).map(|_| None).collect();
    while others.iter().any(Option::is_none) {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                ensure!(!interrupted(), "stopped while waiting for the other processes");
                sleep(LOOK_AGAIN);
                continue;
            }
            Err(error) => return Err(error).context("cannot wait for the other processes"),
        };
        // Whoever else knocks at the port is let go again.
        let Ok((rank, of)) = greeted(&stream) else { continue };
        ensure!(of == size, "process {rank} is one of {of}, and process 0 one of {size}: give all the same number");
        let place = rank.checked_sub(1).and_then(|place| others.get_mut(place));
        let place = place.with_context(|| format!("a second process says that it is number {rank} of {size}"))?;
        ensure!(place.is_none(), "two processes say that they are number {rank}");
        *place = Some(stream);
    }
    Ok(others.into_iter().flatten().collect())
}

/// Who has connected, and of how many it is one.
fn greeted(mut stream: &TcpStream) -> std::io::Result<(usize, usize)> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TO_GREET))?;
    let mut said = [0; 16];
    stream.read_exact(&mut said)?;
    stream.set_read_timeout(None)?;
    if said[..8] != GREETING {
        return Err(ErrorKind::InvalidData.into());
    }
    let number = |at: usize| u32::from_le_bytes([said[at], said[at + 1], said[at + 2], said[at + 3]]) as usize;
    Ok((number(8), number(12)))
}

/// Another process's side: a connection to the first, which may not be there yet.
fn connect(address: &str, rank: usize, size: usize) -> Result<TcpStream> {
    let places =
        address.to_socket_addrs().with_context(|| format!("{address} is no address: give a host and a port"))?;
    let places: Vec<_> = places.collect();
    let mut stream = loop {
        match TcpStream::connect(&places[..]) {
            Ok(stream) => break stream,
            Err(error) if interrupted() => {
                bail!("stopped while waiting for process 0 at {address} (the last attempt: {error})")
            }
            Err(_) => sleep(LOOK_AGAIN),
        }
    };
    stream.set_nodelay(true)?;
    let said = [&GREETING[..], &(rank as u32).to_le_bytes(), &(size as u32).to_le_bytes()].concat();
    stream.write_all(&said).with_context(|| gone(0))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each of so many processes returns.
    fn each<R: Send>(size: usize, run: impl Fn(Processes) -> R + Sync) -> Vec<R> {
        let all = Processes::threads(size).unwrap();
        std::thread::scope(|scope| {
            let threads: Vec<_> = all.into_iter().map(|own| scope.spawn(|| run(own))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    #[test]
    fn sums_are_alike_and_in_the_order_of_the_processes() {
        let sums = each(4, |mut own| {
            // In another order, what is lost to rounding would be another.
            let mut values = [[1e8f32, 1.0, -1e8, 3.0][own.rank()]; 1000];
            own.sum(&mut values).unwrap();
            let mut counts = [own.rank() as f64, 1.0];
            own.sum(&mut counts).unwrap();
            (values, counts)
        });
        let wanted = ((1e8f32 + 1.0) - 1e8) + 3.0;
        assert!(sums.iter().all(|sum| *sum == ([wanted; 1000], [6.0, 4.0])));
    }

    #[test]
    fn all_get_what_the_first_has() {
        let shared = each(3, |mut own| own.share(vec![own.rank() as u8; own.rank() + 2]).unwrap());
        assert_eq!(shared, [[0, 0]; 3]);
        assert_eq!(each(1, |mut own| own.share(vec![7]).unwrap()), [[7]]);
    }

    #[test]
    fn one_that_goes_is_named_to_the_others() {
        let told = each(3, |mut own| match own.rank() {
            2 => None,
            _ => own.sum(&mut [1.0]).err().map(|error| format!("{error:#}")),
        });
        assert!(told[0].as_ref().unwrap().contains("process 2 has gone"), "{told:?}");
        assert!(told[1].as_ref().unwrap().contains("process 0 has gone"), "{told:?}");
        let told = each(2, |mut own| own.sum(&mut vec![1.0; 1 + own.rank()]).err().map(|error| format!("{error:#}")));
        assert!(told[0].as_ref().unwrap().contains("has sent 16 bytes where 8 are due"), "{told:?}");
    }

    #[test]
    fn numbers_that_do_not_fit_together_are_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let refused = |others: &[(usize, usize)]| {
            // A stranger is let go.
            TcpStream::connect(&address).unwrap().write_all(&[0; 16]).unwrap();
            let _held: Vec<_> = others.iter().map(|&(rank, size)| connect(&address, rank, size).unwrap()).collect();
            accept(&listener, 3).unwrap_err().to_string()
        };
        assert!(refused(&[(1, 2)]).contains("process 1 is one of 2, and process 0 one of 3"));
        assert!(refused(&[(1, 3), (1, 3)]).contains("two processes say that they are number 1"));
        assert!(refused(&[(0, 3)]).contains("number 0 of 3"));
        let error = Processes::meet("127.0.0.1:0", 2, 2).err().unwrap().to_string();
        assert!(error.contains("numbered from 0"), "{error}");
        let error = Processes::meet("here", 1, 2).err().unwrap().to_string();
        assert!(error.contains("here is no address"), "{error}");
    }
}
