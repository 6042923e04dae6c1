//! Programs that show atasker at work: see the files beside this folder.
