"""Talk with people and other programs: the command line, the installers. ("Face": what others call an entry point.)"""
