//! `ldmatrix` and `stmatrix`: 8×8 matrices of 16 bits, a row of 16 bytes per address.

use super::access::Part;
use super::lanes::put;
use super::scene::{Outcome, Scene, lanes};
use crate::check::{Fault, Kind};
use crate::decode::MatrixMove;
use crate::memory::{SHARED_WINDOW, WINDOW_BYTES};
use crate::ptx::Space;

/// Bytes of a row.
const ROW: u32 = 16;
/// The lane that stands for all of them: every lane gets a part of every row.
const ALL_LANES: usize = 32;

impl Scene<'_, '_> {
    fn matrix_rows(&self, mover: &MatrixMove) -> Outcome<Part> {
        if self.mask != !0 {
            let missing = (!self.mask).trailing_zeros();
            let what = format!("all 32 lanes are due, lane {missing} is not here");
            return Err(self.trouble(Self::first(self.mask), Fault::new(Kind::MissingLanes, what)));
        }
        let count = 8 * mover.rows.len() as u32;
        let mask = if count == 32 { !0 } else { (1 << count) - 1 };
        let mut addresses = self.addresses(&mover.address);
        if mover.address.space == Space::Generic {
            addresses = addresses.map(|address| address.wrapping_sub(SHARED_WINDOW));
            if let Some(lane) = lanes(mask).find(|&lane| addresses[lane] >= WINDOW_BYTES) {
                let fault = Fault::at(Kind::InvalidOperation, addresses[lane], "a matrix is in shared memory");
                return Err(self.trouble(lane as u32, fault));
            }
        }
        let part = Part { space: Space::Shared, mask, addresses };
        self.check_alignment(&part, ROW)?;
        self.check_shared(&part, ROW)?;
        Ok(part)
    }

    /// `ldmatrix`.
    pub fn load_matrix(&mut self, load: &MatrixMove) -> Outcome {
        let part = self.matrix_rows(load)?;
        self.count_shared(&part, ROW);
        let lenient = self.grid.kernel.program.order.swaps_shared;
        for lane in lanes(part.mask) {
            let mut touch = self.touch(lane, part.addresses[lane], ROW);
            touch.lane = ALL_LANES;
            if let Err(clash) = self.shared.note_read(touch, lenient) {
                self.clash(lane, clash)?;
            }
        }
        for (matrix, &to) in load.rows.iter().enumerate() {
            let rows: [usize; 8] = std::array::from_fn(|row| part.addresses[8 * matrix + row] as usize);
            let mut out = [0u32; 32];
            for (lane, out) in out.iter_mut().enumerate() {
                let (group, pair) = (lane / 4, lane % 4);
                *out = if load.transposed {
                    let at = |row: usize| self.shared.load(rows[row] + 2 * group, 2) as u32;
                    at(2 * pair) | at(2 * pair + 1) << 16
                } else {
                    self.shared.load(rows[group] + 4 * pair, 4) as u32
                };
            }
            put(&mut self.warp.registers, to, out, !0);
        }
        Ok(())
    }

    /// `stmatrix`.
    pub fn store_matrix(&mut self, store: &MatrixMove) -> Outcome {
        let part = self.matrix_rows(store)?;
        self.count_shared(&part, ROW);
        self.note_shared_writes(&part, ROW)?;
        for (matrix, &from) in store.rows.iter().enumerate() {
            let values = self.warp.registers.narrow[from as usize];
            let rows: [usize; 8] = std::array::from_fn(|row| part.addresses[8 * matrix + row] as usize);
            for (lane, value) in values.into_iter().enumerate() {
                let (group, pair) = (lane / 4, lane % 4);
                if store.transposed {
                    self.shared.store(rows[2 * pair] + 2 * group, 2, u64::from(value & 0xffff));
                    self.shared.store(rows[2 * pair + 1] + 2 * group, 2, u64::from(value >> 16));
                } else {
                    self.shared.store(rows[group] + 4 * pair, 4, u64::from(value));
                }
            }
        }
        Ok(())
    }
}
