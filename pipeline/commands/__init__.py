"""One module a command: `add_options(parser)`, `run(args, beam_args) -> exit code`, `DESCRIPTION`.

The parser imports all of them: what is heavy is imported by `run`.
"""
