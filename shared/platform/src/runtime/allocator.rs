//! The allocator of every function. The C library's returns the memory of a batch to the system after each event, and
//! maps it again for the next one.

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;
