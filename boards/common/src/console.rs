//! Text in and out.

use core::fmt;

/// Where a demo's text goes and comes from. Output that fails is lost: nobody is there to be told.
pub trait Console: fmt::Write {
    /// The next byte; waits for it. `None` when there will be no more.
    fn read(&mut self) -> Option<u8>;

    /// What the demo was started with, as one line: a board without such a thing gives "".
    fn arguments<'b>(&mut self, buffer: &'b mut [u8]) -> &'b str;

    /// The demo is over. An emulator ends here, with success or not; a board waits for its reset.
    fn exit(&mut self, success: bool) -> !;
}

impl<C: Console> Console for &mut C {
    fn read(&mut self) -> Option<u8> {
        (**self).read()
    }

    fn arguments<'b>(&mut self, buffer: &'b mut [u8]) -> &'b str {
        (**self).arguments(buffer)
    }

    fn exit(&mut self, success: bool) -> ! {
        (**self).exit(success)
    }
}
