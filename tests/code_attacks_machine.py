"""Programs that try to reach the machine that they run on. See `code_attacks`."""

from collections.abc import Iterator

Made = Iterator[tuple[str, str]]


def processes() -> Made:
    """Other processes, and too many of them."""
    for statement in (
        "os.fork()",
        "[os.fork() for _ in range(64)]",
        "os.forkpty()",
        "os.system('touch HOST_FILE.touched')",
        "os.popen('id').read()",
        "subprocess.run(['/bin/sh', '-c', 'echo hacked > HOST_FILE'])",
        "subprocess.Popen([sys.executable, '-c', 'while 1: pass'], start_new_session=True)",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.execve(sys.executable, [sys.executable, '-c', 'print(1)'], {})",
        "multiprocessing.Process(target=print).start()",
        "multiprocessing.Pool(64)",
        "ctypes.CDLL(None).fork()",
        "ctypes.CDLL(None).vfork()",
        "ctypes.CDLL(None).syscall(57)",
        "ctypes.CDLL(None).syscall(56, 0x11, 0, 0, 0, 0)",
        "ctypes.CDLL(None).syscall(56, 0x7e020011, 0, 0, 0, 0)",
        "ctypes.CDLL(None).syscall(435, ctypes.create_string_buffer(88), 88)",
        "ctypes.CDLL(None).system(b'touch HOST_FILE.touched')",
        "[threading.Thread(target=time.sleep, args=(60,), daemon=True).start() for _ in range(10000)]",
        "exec('def bomb():\\n  while True: threading.Thread(target=bomb).start()\\nbomb()')",
    ):
        source = "import os, sys, subprocess, multiprocessing, ctypes, threading, time\n"
        yield statement, f"{source}def f(*a):\n    {statement}\n    return 0"
    yield "a fork bomb", "import os\nwhile True:\n    try: os.fork()\n    except OSError: break\ndef f(*a): return 0"


def files() -> Made:
    """Files of the machine, and too many or too large ones of its own."""
    for statement in (
        "open('HOST_FILE').read()",
        "open('HOST_FILE', 'w').write('hacked')",
        "os.unlink('HOST_FILE')",
        "os.rename('HOST_FILE', '/job/x')",
        "os.symlink('HOST_FILE', 'link'); open('link', 'w').write('hacked')",
        "os.link('HOST_FILE', 'link'); open('link', 'w').write('hacked')",
        "os.chmod('HOST_FILE', 0o777)",
        "os.truncate('HOST_FILE', 0)",
        "open('/job/../..' + 'HOST_FILE', 'w').write('hacked')",
        "open('/proc/1/root' + 'HOST_FILE', 'w').write('hacked')",
        "open('/proc/self/cwd/../' + 'HOST_FILE').read()",
        "open('/etc/passwd').read()",
        "open('/etc/shadow').read()",
        "open('/etc/hosts', 'a').write('x')",
        "os.listdir('/root')",
        "os.listdir('/home')",
        "open('/tmp/ponder-attack', 'w').write('x')",
        "open('/ponder-attack', 'w').write('x')",
        "open('/guest/ponder/verify/code/guest/values.py', 'a').write('x')",
        "open(os.__file__, 'a').write('x')",
        "open('/dev/mem', 'rb').read(1)",
        "open('/dev/sda', 'rb').read(1)",
        "open('/dev/shm/x', 'w').write('x')",
        "open('/dev/tty', 'w').write('x')",
        "open('/sys/kernel/uevent_helper', 'w').write('x')",
        "open('/proc/sys/kernel/core_pattern', 'w').write('|x')",
        "open('/proc/sysrq-trigger', 'w').write('b')",
        "os.mknod('/job/x', 0o60600, os.makedev(8, 0))",
        "os.mkfifo('/job/x')",
        "open('x', 'wb').truncate(10**15)",
        "[open(str(n), 'wb').write(bytes(10**7)) for n in range(10**4)]",
        "[os.mkdir('d') or os.chdir('d') for _ in range(10**5)]",
        "os.chdir('/') or os.chroot('/')",
        "shutil.rmtree('/', ignore_errors=True)",
        "[os.open('/dev/null', 0) for _ in range(10**6)]",
        "zipfile.ZipFile(io.BytesIO(b'PK')).extractall('/')",
        "tarfile.open(fileobj=io.BytesIO(b'')).extractall('/')",
        "tempfile.mkstemp()",
        "pickle.loads(b'cos\\nsystem\\n(S\"touch HOST_FILE.touched\"\\ntR.')",
        "os.memfd_create('x')",
        "sqlite3.connect('x.db').execute('create table t(x)')",
    ):
        head = "import os, shutil, zipfile, tarfile, io, tempfile, pickle\n"
        head += "try: import sqlite3\nexcept ImportError: pass\n"
        yield statement, f"{head}def f(*a):\n    {statement}\n    return 0"


def network() -> Made:
    """Anybody out there."""
    for statement in (
        "socket.create_connection(('127.0.0.1', HOST_PORT), 1)",
        "socket.create_connection(('localhost', HOST_PORT), 1)",
        "socket.create_connection(('::1', HOST_PORT), 1)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', HOST_PORT))",
        "socket.socket(socket.AF_UNIX).connect('/run/docker.sock')",
        "socket.socket(socket.AF_UNIX).connect('\\0abstract')",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
        "socket.socket(socket.AF_VSOCK).connect((2, 1))",
        "socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)",
        "socket.getaddrinfo('example.com', 80)",
        "socket.create_server(('0.0.0.0', 8765))",
        "urllib.request.urlopen('http://127.0.0.1:HOST_PORT', timeout=1)",
        "http.client.HTTPConnection('127.0.0.1', HOST_PORT, timeout=1).request('GET', '/')",
        "asyncio.run(asyncio.open_connection('127.0.0.1', HOST_PORT))",
        "ctypes.CDLL(None).syscall(41, 2, 1, 0)",
    ):
        head = "import socket, urllib.request, http.client, asyncio, ctypes\n"
        yield statement, f"{head}def f(*a):\n    {statement}\n    return 0"


def system_calls() -> Made:
    """The kernel itself. Numbers are those of x86-64; elsewhere they are other calls, refused all the same."""
    calls = {
        "ptrace attach": (101, 16, 1, 0, 0),
        "ptrace traceme": (101, 0, 0, 0, 0),
        "process_vm_readv": (310, 1, 0, 0, 0, 0, 0),
        "process_vm_writev": (311, 1, 0, 0, 0, 0, 0),
        "kill 1": (62, 1, 9),
        "kill everyone": (62, -1, 9),
        "tgkill": (234, 1, 1, 9),
        "pidfd_open": (434, 1, 0),
        "unshare": (272, 0x10000000),
        "unshare mounts": (272, 0x00020000),
        "setns": (308, 0, 0),
        "mount": (165, 0, 0, 0, 0, 0),
        "umount": (166, 0, 2),
        "open_tree": (428, -100, 0, 1),
        "fsopen": (430, 0, 0),
        "pivot_root": (155, 0, 0),
        "chroot": (161, 0),
        "keyctl": (250, 0, 0),
        "bpf": (321, 0, 0, 0),
        "perf_event_open": (298, 0, 0, -1, -1, 0),
        "userfaultfd": (323, 0),
        "io_uring_setup": (425, 8, 0),
        "personality": (135, 0x0040000),
        "setuid": (105, 0),
        "setresuid": (117, 0, 0, 0),
        "capset": (126, 0, 0),
        "prctl": (157, 1, 0),
        "seccomp": (317, 1, 0, 0),
        "reboot": (169, 0xFEE1DEAD, 672274793, 0x1234567),
        "init_module": (175, 0, 0, 0),
        "kexec_load": (246, 0, 0, 0, 0),
        "swapon": (167, 0, 0),
        "iopl": (172, 3),
        "TIOCSTI": (16, 0, 0x5412, 0),
        "settimeofday": (164, 0, 0),
        "sethostname": (170, 0, 0),
        "setpriority": (141, 0, 0, -20),
        "sched_setscheduler": (144, 0, 1, 0),
        "prlimit of another": (302, 1, 7, 0, 0),
        "open_by_handle_at": (304, 0, 0, 0),
        "fanotify_init": (300, 0, 0),
        "syslog": (103, 2, 0, 0),
        "shmget": (29, 0, 10**6, 0o1777),
        "msgget": (68, 0, 0o1777),
        "mq_open": (240, 0, 0o102, 0, 0),
        "timer_create": (222, 0, 0, 0),
        "memfd_secret": (447, 0),
        "landlock": (444, 0, 0, 1),
        "another architecture": (0x40000000 + 57,),
    }
    for name, arguments in calls.items():
        yield (
            name,
            f"import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\ndef f(*a):\n"
            f"    result = libc.syscall(*map(ctypes.c_long, {arguments}))\n"
            f"    assert result < 0, 'the kernel did it'\n    return 0",
        )
