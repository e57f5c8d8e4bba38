"""An NFSv3 export as a FUSE file system: `python nfs_client.py URL MOUNT_POINT SECONDS`.

It runs until it is unmounted, or for so many seconds.

For kernels without an NFS client. libnfs speaks the protocol; what fails there fails here with the
same errno. A server that is away is waited for, as with a hard mount.
"""

import ctypes
import errno
import os
import signal
import sys

import mfusepy

LIBRARIES = ('libnfs.so.14', 'libnfs.so.13')
"""Releases of which `nfs_pread` and `nfs_pwrite` take their arguments in the order used here."""

STATUS = ('dev', 'ino', 'mode', 'nlink', 'uid', 'gid', 'rdev', 'size', 'blksize', 'blocks',
          'atime', 'mtime', 'ctime', 'atime_nsec', 'mtime_nsec', 'ctime_nsec', 'used')


class Status(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in STATUS]


class Entry(ctypes.Structure):
    """The part of `struct nfsdirent` that is needed."""


Entry._fields_ = [('next', ctypes.POINTER(Entry)), ('name', ctypes.c_char_p),
                  ('inode', ctypes.c_uint64)]


class Space(ctypes.Structure):
    """`struct statvfs` of 64-bit Linux."""

    _fields_ = [(f'f_{name}', ctypes.c_ulong) for name in (
        'bsize', 'frsize', 'blocks', 'bfree', 'bavail', 'files', 'ffree', 'favail', 'fsid',
        'flag', 'namemax')] + [('spare', ctypes.c_int * 6)]


class Url(ctypes.Structure):
    _fields_ = [(name, ctypes.c_char_p) for name in ('server', 'path', 'file')]


def load():
    for name in LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        for function in ('nfs_init_context', 'nfs_parse_url_dir', 'nfs_get_error', 'nfs_readdir'):
            getattr(library, function).restype = ctypes.c_void_p
        library.nfs_get_error.restype = ctypes.c_char_p
        library.nfs_readdir.restype = ctypes.POINTER(Entry)
        library.nfs_parse_url_dir.restype = ctypes.POINTER(Url)
        return library
    raise SystemExit(f'none of {", ".join(LIBRARIES)} is installed')


class Export(mfusepy.Operations):
    """Each operation is one call of libnfs, one after the other."""

    use_ns = True

    def __init__(self, url):
        self._library = load()
        self._context = ctypes.c_void_p(self._library.nfs_init_context())
        parsed = self._library.nfs_parse_url_dir(self._context, url.encode())
        if not parsed:
            raise SystemExit(f'{url}: {self._why()}')
        self._call('mount', parsed.contents.server, parsed.contents.path)
        self._library.nfs_set_autoreconnect(self._context, -1)

    def _why(self):
        return self._library.nfs_get_error(self._context).decode(errors='replace')

    def _call(self, name, *arguments):
        result = getattr(self._library, f'nfs_{name}')(self._context, *arguments)
        if result < 0:
            raise OSError(-result, f'{name}: {self._why()}')
        return result

    def getattr(self, path, fh=None):
        status = Status()
        if fh is None:
            self._call('lstat64', path.encode(), ctypes.byref(status))
        else:
            self._call('fstat64', ctypes.c_void_p(fh), ctypes.byref(status))
        found = {f'st_{name}': getattr(status, name) for name in STATUS[:10]}
        for name in ('atime', 'mtime', 'ctime'):
            seconds, rest = getattr(status, name), getattr(status, f'{name}_nsec')
            found[f'st_{name}'] = seconds * 10**9 + rest
        return found

    def readdir(self, path, fh):
        directory = ctypes.c_void_p()
        self._call('opendir', path.encode(), ctypes.byref(directory))
        entries = []
        try:
            while entry := self._library.nfs_readdir(self._context, directory):
                found = entry.contents
                # An entry without an inode would be left out; its type is left to be asked for.
                entries.append((os.fsdecode(found.name), {'st_ino': found.inode}, 0))
        finally:
            self._library.nfs_closedir(self._context, directory)
        return entries

    def open(self, path, flags):
        opened = ctypes.c_void_p()
        self._call('open', path.encode(), flags & (os.O_ACCMODE | os.O_TRUNC),
                   ctypes.byref(opened))
        return opened.value

    def create(self, path, mode, fi=None):
        opened = ctypes.c_void_p()
        self._call('create', path.encode(), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode & 0o7777,
                   ctypes.byref(opened))
        return opened.value

    def read(self, path, size, offset, fh):
        buffer = ctypes.create_string_buffer(size)
        done = self._call('pread', ctypes.c_void_p(fh), ctypes.c_uint64(offset),
                          ctypes.c_uint64(size), buffer)
        return buffer.raw[:done]

    def write(self, path, data, offset, fh):
        return self._call('pwrite', ctypes.c_void_p(fh), ctypes.c_uint64(offset),
                          ctypes.c_uint64(len(data)), data)

    def fsync(self, path, datasync, fh):
        return self._call('fsync', ctypes.c_void_p(fh))

    def fsyncdir(self, path, datasync, fh):
        return 0

    def release(self, path, fh):
        return self._call('close', ctypes.c_void_p(fh))

    def truncate(self, path, length, fh=None):
        return self._call('truncate', path.encode(), ctypes.c_uint64(length))

    def unlink(self, path):
        return self._call('unlink', path.encode())

    def rename(self, old, new):
        return self._call('rename', old.encode(), new.encode())

    def link(self, target, source):
        return self._call('link', source.encode(), target.encode())

    def symlink(self, target, source):
        return self._call('symlink', source.encode(), target.encode())

    def readlink(self, path):
        buffer = ctypes.create_string_buffer(4096)
        self._call('readlink', path.encode(), buffer, len(buffer))
        return buffer.value.decode()

    def mkdir(self, path, mode):
        return self._call('mkdir2', path.encode(), mode & 0o7777)

    def rmdir(self, path):
        return self._call('rmdir', path.encode())

    def chmod(self, path, mode):
        return self._call('chmod', path.encode(), mode & 0o7777)

    def chown(self, path, uid, gid):
        return self._call('lchown', path.encode(), uid, gid)

    def utimens(self, path, times=None):
        raise OSError(errno.ENOTSUP, 'not needed')

    def statfs(self, path):
        space = Space()
        self._call('statvfs', path.encode(), ctypes.byref(space))
        return {name: getattr(space, name) for name, _ in Space._fields_[:-1] if name != 'f_fsid'}


def main(url, mount_point, seconds):
    signal.alarm(int(seconds))
    # One thread: a libnfs context serves one caller at a time.
    mfusepy.FUSE(Export(url), mount_point, foreground=True, nothreads=True, use_ino=True,
                 fsname=url.partition('?')[0], subtype='libnfs')


if __name__ == '__main__':
    main(*sys.argv[1:])
