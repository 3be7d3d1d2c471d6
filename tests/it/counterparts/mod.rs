//! The fakes of third parties, shown to keep the third parties' rules: by clients that we did not write, and by requests
//! that meet each rule. What our functions do with them is not here. Nothing here needs a stack.

mod google;
mod mls;
