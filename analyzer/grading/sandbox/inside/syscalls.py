"""Numbers of the system calls that the filter names: (x86_64, aarch64), None where an architecture has no such call.

From the kernel's own headers (asm/unistd_64.h, asm-generic/unistd.h, Linux 6.6).
"""

from __future__ import annotations

from collections.abc import Mapping

Numbers = Mapping[str, tuple[int | None, int | None]]

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""Machine -> AUDIT_ARCH_*; the order is that of the numbers below."""

NEWEST = 462
"""The newest call that was looked at (mseal). The filter answers ENOSYS to every later one."""

REFUSED: Numbers = {
    # new processes and programs
    # None: aarch64 never had the call, its libc uses the newer one with more arguments, which is listed as well.
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "unshare": (272, 97),
    "setns": (308, 268),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    # tkill, not tgkill: it names a thread of any process, so there is no argument by which to allow one's own.
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "setpriority": (141, 140),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "sched_setaffinity": (203, 122),
    "ioprio_set": (251, 30),
    # the network, and sockets of this host
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    # sendmsg can carry descriptors in flight, which count against no limit of the program's while nobody receives
    # them.
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    # what Landlock does not see: owners, modes, times, links, directories
    # No directories at all: the scratch stays flat, so that the runner can empty it without following anything.
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "link": (86, None),
    "linkat": (265, 37),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "truncate": (76, 45),
    # Gigabytes of a disk in a millisecond, before anybody looks; what is written takes its time.
    "fallocate": (285, 47),
    # Of the whole machine's files: it waits, and makes others wait, at no cost in CPU time.
    "sync": (162, 81),
    "syncfs": (306, 267),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27),
    "flock": (73, 32),
    # memory and other things of the kernel's that no limit counts, and shared memory
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "setsockopt": (54, 208),  # larger buffers
    # Kernel memory of asynchronous contexts is limited for the whole machine (fs.aio-max-nr), not per user.
    "io_setup": (206, 0),
    "io_destroy": (207, 1),
    "io_submit": (209, 2),
    "io_cancel": (210, 3),
    "io_getevents": (208, 4),
    "io_pgetevents": (333, 292),
    # Each holds a queued signal for as long as it exists, which RLIMIT_SIGPENDING counts for all of a user's processes.
    "timer_create": (222, 107),
    "landlock_create_ruleset": (444, 444),  # rules take memory of the kernel's
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
    "seccomp": (317, 277),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "mq_notify": (244, 184),
    # mounts
    "mount": (165, 40),
    "umount2": (166, 39),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    # the kernel
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    # A classic help in exploiting the kernel, as are bpf and perf_event_open: it can stop the kernel in mid-copy.
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    # Would switch off the randomisation of addresses, or make READ imply EXEC.
    "personality": (135, 92),
    "capset": (126, 91),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "acct": (163, 89),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "iopl": (172, None),
    "ioperm": (173, None),
    "lookup_dcookie": (212, 18),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "adjtimex": (159, 171),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
}
"""Refused with EPERM."""

ABSENT: Numbers = {
    # clone3 is refused as if it did not exist, so glibc makes its threads by clone, whose flags a filter can see.
    "clone3": (435, 435),
    "openat2": (437, 437),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
}
"""Answered with ENOSYS: their arguments lie in memory where a filter cannot look; libraries then use the older call."""

LOOKED_INTO: Numbers = {
    "kill": (62, 129),
    "tgkill": (234, 131),
    "prlimit64": (302, 261),
    "prctl": (157, 167),
    "fcntl": (72, 25),
    "ioctl": (16, 29),
    "clone": (56, 220),
    "open": (2, None),
    "openat": (257, 56),
    "socketpair": (53, 199),
    "sendto": (44, 206),
}
"""Allowed or refused by their arguments."""

LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446  # the same everywhere


def number(name: str, machine: str) -> int | None:
    """The number of a call of the tables above on this machine; None where it has no such call. Raises KeyError."""
    for table in (REFUSED, ABSENT, LOOKED_INTO):
        if name in table:
            return table[name][list(ARCHITECTURES).index(machine)]
    raise KeyError(name)
