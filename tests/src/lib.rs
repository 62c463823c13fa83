//! Whole-system tests of Pipsqueak: tools they share.
