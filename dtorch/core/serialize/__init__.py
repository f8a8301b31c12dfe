"""save and load, in the file format of PyTorch; public as dtorch.serialization.

archive.py      the zip file: records, alignment, checksums
writer.py       save(): the pickler
reader.py       load(): storages read or mapped
unpickler.py    what a pickle may do, by default only data, and what the user calls safe
names.py        torch's names in files, and the objects of ours that they stand for
placement.py    where storages go: map_location
replacement.py  files that are replaced only by complete ones
options.py      the settings in dtorch.serialization
legacy.py       files of torch before 1.6
safetensors.py  files of the safetensors library; public as dtorch.utils.safetensors
"""

from .reader import load
from .writer import save
