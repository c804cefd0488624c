"""The same workflow in a browser: a gateway that guards the door, and a process with scene and worker a session."""
