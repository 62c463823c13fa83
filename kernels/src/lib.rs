//! int8/int4 block-quantised matmul and vector kernels for small language models.
#![no_std]
