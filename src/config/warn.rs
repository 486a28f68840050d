//! What is allowed, but will surprise.

use super::problem::Problems;
use super::raw::File;
use crate::model::plan::Plan;

pub fn warn(_plan: &Plan, _file: &File, _problems: &mut Problems) {}
