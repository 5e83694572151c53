"""What runs inside of the sandbox. Only the standard library, and only modules of this folder, may be imported here."""
