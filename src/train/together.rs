//! Processes that train one reader: each has all of it, and a share of every batch.

use anyhow::{Error, Result, ensure};

use super::pass::Losses;
use crate::backend::{AllReduce, Backward, Grad, Member};
use crate::io::Processes;

/// This process and those that train with it. Whatever it does with the others, all do in the same order.
pub struct Together<B: Backward> {
    /// None where there are no others: then nothing here costs anything.
    processes: Option<Processes>,
    /// What adds up gradients without the hosts.
    devices: Option<Box<dyn AllReduce<B>>>,
    /// The first that went wrong in a sum; what comes after it is left out.
    failed: Option<Error>,
}

impl<B: Backward> Together<B> {
    /// No others.
    pub fn alone() -> Self {
        Self { processes: None, devices: None, failed: None }
    }

    /// Processes whose hosts add up the gradients.
    pub fn by_hosts(processes: Processes) -> Self {
        Self { processes: Some(processes), devices: None, failed: None }
    }

    /// Processes whose machines add up the gradients, if they can, and else the hosts.
    ///
    /// # Errors
    /// Machines that ought to be able to, and are not.
    pub fn by_devices(be: &B, mut processes: Processes) -> Result<Self> {
        let (rank, size) = (processes.rank(), processes.size());
        let devices = be.all_reduce(Member { rank, size, share: &mut |bytes| processes.share(bytes) })?;
        Ok(Self { processes: Some(processes), devices, failed: None })
    }

    /// This process's number.
    pub fn rank(&self) -> usize {
        self.processes.as_ref().map_or(0, Processes::rank)
    }

    /// How many there are.
    pub fn size(&self) -> usize {
        self.processes.as_ref().map_or(1, Processes::size)
    }

    /// Whether it is the first: the one that evaluates, saves and says what happens.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Whether machines add up gradients, and not the hosts.
    pub fn adds_up_on_devices(&self) -> bool {
        self.devices.is_some()
    }

    /// Makes each gradient of a bucket its sum over all processes, from [`join`](Self::join) on, which has the failures.
    pub fn sum(&mut self, be: &B, bucket: Vec<&mut Grad<B>>) {
        if self.failed.is_none() {
            self.failed = self.try_sum(be, bucket).err();
        }
    }

    fn try_sum(&mut self, be: &B, bucket: Vec<&mut Grad<B>>) -> Result<()> {
        let Some(processes) = &mut self.processes else { return Ok(()) };
        if let Some(devices) = &mut self.devices {
            return devices.sum(be, &bucket);
        }
        for grad in bucket {
            let mut values = be.download(&grad.buf)?;
            processes.sum(&mut values)?;
            grad.buf = be.upload(values);
        }
        Ok(())
    }

    /// Lets what the machine does from here on come after all sums so far.
    ///
    /// # Errors
    /// The first that went wrong in them.
    pub fn join(&mut self, be: &B) -> Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.devices.as_mut().map_or(Ok(()), |devices| devices.join(be))
    }

    /// The losses of all processes.
    ///
    /// # Errors
    /// A process that has gone.
    pub fn losses(&mut self, own: Losses) -> Result<Losses> {
        let Some(processes) = &mut self.processes else { return Ok(own) };
        let mut sums = [own.lm, own.tokens as f64, own.distill, own.questions as f64];
        processes.sum(&mut sums)?;
        let [lm, tokens, distill, questions] = sums;
        Ok(Losses { lm, tokens: tokens as usize, distill, questions: questions as usize })
    }

    /// Whether any process says so.
    ///
    /// # Errors
    /// A process that has gone.
    pub fn any(&mut self, says: bool) -> Result<bool> {
        let Some(processes) = &mut self.processes else { return Ok(says) };
        let mut count = [f64::from(u8::from(says))];
        processes.sum(&mut count)?;
        Ok(count[0] > 0.0)
    }

    /// Refuses, on all processes, to go on where one has something other than the first.
    ///
    /// # Errors
    /// That, and a process that has gone.
    pub fn agree(&mut self, on: &str, own: &[u8]) -> Result<()> {
        let Some(processes) = &mut self.processes else { return Ok(()) };
        let rank = processes.rank();
        let differs = processes.share(own.to_vec())? != own;
        let any = self.any(differs)?;
        ensure!(!differs, "process {rank} has another {on} than process 0: all need the same files and settings");
        ensure!(!any, "a process has another {on} than process 0: all need the same files and settings");
        Ok(())
    }
}
