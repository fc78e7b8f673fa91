"""
How `spark.read.batchintory` comes to be (`spark_batchintory.registration`): in processes of their own, as imports are
global.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

from spark_batchintory import registration
from spark_batchintory.reading import BatchintoryReader, batchintory

ROOT = Path(registration.__file__).parents[1]

# A stand-in with pyspark's layout, so that what is tested is the imports and not pyspark's start-up; real pyspark is
# used where the subject is pyspark itself.
LAYOUT = {
    "pyspark/__init__.py": "",
    "pyspark/sql/__init__.py": "from pyspark.sql.readwriter import DataFrameReader\n",
    "pyspark/sql/readwriter.py": "class DataFrameReader:\n    pass\n",
    "pyspark/sql/connect/__init__.py": "",
    "pyspark/sql/connect/readwriter.py": "class DataFrameReader:\n    pass\n",
}


@pytest.fixture
def fake(tmp_path):
    for name, text in LAYOUT.items():
        path = tmp_path / "fake" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "fake"


def run(code: str, *first: Path, **environment: str) -> str:
    """
    What `code` prints in a fresh interpreter that takes every warning for an error and finds `first` before all else.
    """
    path = os.pathsep.join(map(str, [*first, ROOT]))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


CLASSIC = "from pyspark.sql import DataFrameReader as classic"
CONNECT = "from pyspark.sql.connect.readwriter import DataFrameReader as connect"
SHOW = "print(hasattr(classic, 'batchintory'), hasattr(connect, 'batchintory'))"


def test_importing_the_package_imports_no_pyspark():
    """
    Import isolation: neither pyspark nor what it brings is imported, and registering as such opens nothing.
    """
    code = """
        import sys, spark_batchintory
        spark_batchintory.register()
        tops = {name.partition(".")[0] for name in sys.modules}
        print(sorted(tops & {"pyspark", "py4j", "grpc", "pandas", "pyarrow"}))
    """
    assert run(code) == "[]"


@pytest.mark.parametrize(
    "order",
    [
        ["import spark_batchintory", CLASSIC, CONNECT],
        [CLASSIC, CONNECT, "import spark_batchintory"],
        [CLASSIC, "import spark_batchintory", CONNECT],
        ["import spark_batchintory", CONNECT, CLASSIC],
    ],
)
def test_the_order_of_imports_does_not_matter(fake, order):
    """
    A pyspark that is there is patched at once, one that comes later when it comes; Connect the same.
    """
    assert run("\n".join([*order, SHOW]), fake) == "True True"


@pytest.mark.parametrize("order", [["import spark_batchintory", CLASSIC], [CLASSIC, "import spark_batchintory"]])
def test_real_pyspark_is_patched_and_connect_stays_unimported(order):
    """
    With pyspark itself: the classic reader has the method, and nobody imported Connect or grpc for it.
    """
    code = [
        *order,
        "import sys",
        "print(hasattr(classic, 'batchintory'), 'pyspark.sql.connect.readwriter' in sys.modules)",
    ]

    assert run("\n".join(code)) == "True False"


def test_pyspark_may_be_absent(tmp_path):
    """
    Without pyspark the package imports and registers, and importing pyspark fails as it always would.
    """
    (tmp_path / "pyspark.py").write_text("raise ModuleNotFoundError(\"No module named 'pyspark'\", name='pyspark')\n")
    code = """
        import importlib.util, spark_batchintory
        spark_batchintory.register()
        spark_batchintory.unregister()
        spark_batchintory.register()
        for name in ("pyspark", "pyspark.sql.readwriter"):
            try:
                __import__(name)
            except ModuleNotFoundError as error:
                print(error.name)
    """
    assert run(code, tmp_path) == "pyspark\npyspark"


def test_a_reader_that_fails_to_import_fails_as_before(fake):
    """
    Connect without grpc: its own ImportError comes through, and a later import tries again.
    """
    broken = fake / "pyspark/sql/connect/readwriter.py"
    broken.write_text("import no_such_grpc\n")
    code = f"""
        import spark_batchintory, importlib, pathlib
        for attempt in range(2):
            try:
                import pyspark.sql.connect.readwriter
            except ModuleNotFoundError as error:
                print(error.name)
        pathlib.Path({str(broken)!r}).write_text("class DataFrameReader: pass")
        importlib.invalidate_caches()
        {CONNECT}
        print(hasattr(connect, "batchintory"))
    """
    assert run(code, fake) == "no_such_grpc\nno_such_grpc\nTrue"


def test_registering_twice_is_registering_once(fake):
    """
    Idempotent: one attribute, one finder, also when the module itself is loaded again.
    """
    code = f"""
        import importlib, sys, spark_batchintory as bi, spark_batchintory.registration as registration
        {CLASSIC}
        bi.register(); bi.register()
        importlib.reload(registration)
        registration.register()
        hooks = [finder for finder in sys.meta_path if type(finder).__name__ == "_ReaderFinder"]
        print(len(hooks), hasattr(classic, "batchintory"))
    """
    assert run(code, fake) == "1 True"


def test_unregister_takes_off_what_is_ours_only(fake):
    """
    `unregister` undoes `register`: the attribute and the finder are gone, later imports are left alone, and back it
    comes.
    """
    code = f"""
        import sys, spark_batchintory as bi
        {CLASSIC}
        before = len(sys.meta_path)
        bi.unregister(); bi.unregister()
        {CONNECT}
        print(hasattr(classic, "batchintory"), hasattr(connect, "batchintory"), before - len(sys.meta_path))
        bi.register()
        print(hasattr(classic, "batchintory"), hasattr(connect, "batchintory"))
        bi.unregister()
        classic.batchintory = "foreign"
        bi.unregister()
        print(classic.batchintory)
    """
    assert run(code, fake) == "False False 1\nTrue True\nforeign"


@pytest.mark.parametrize("base", ["", "(Base)"])
def test_a_foreign_attribute_is_left_alone(fake, base):
    """
    An attribute of that name that is not ours: a warning at import, whichever came first, and an error from `register`.
    """
    text = "class Base:\n    batchintory = 'foreign'\n\n\nclass DataFrameReader(Base):\n    pass\n"
    if not base:
        text = "class DataFrameReader:\n    batchintory = 'foreign'\n"
    (fake / "pyspark/sql/readwriter.py").write_text(text)
    for first, second in [(CLASSIC, "import spark_batchintory"), ("import spark_batchintory", CLASSIC)]:
        code = f"""
            import warnings
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                {first}
                {second}
            print(len(caught), "pyspark.sql.readwriter.DataFrameReader" in str(caught[0].message))
            import spark_batchintory as bi
            try:
                bi.register()
            except bi.ConfigurationError as error:
                print("refused", "batchintory" in str(error))
            bi.unregister()
            print(classic.batchintory)
        """
        assert run(code, fake) == "1 True\nrefused True\nforeign"


@pytest.mark.parametrize("value", ["false", "FALSE", "0", "no", "off", " False "])
def test_the_environment_switches_it_off(fake, value):
    """
    `SPARK_BATCHINTORY_AUTOREGISTER=false`: importing leaves pyspark alone, `register` still works.
    """
    code = f"""
        import sys
        {CLASSIC}
        before = list(sys.meta_path)
        import spark_batchintory as bi
        {CONNECT}
        print(hasattr(classic, "batchintory"), hasattr(connect, "batchintory"), before == sys.meta_path)
        bi.register()
        print(hasattr(classic, "batchintory"), hasattr(connect, "batchintory"))
    """
    assert run(code, fake, SPARK_BATCHINTORY_AUTOREGISTER=value) == "False False True\nTrue True"


@pytest.mark.parametrize("value", ["true", "1", ""])
def test_any_other_value_leaves_it_on(fake, value):
    """
    Only a clear no switches registration off.
    """
    code = f"import spark_batchintory\n{CLASSIC}\n{CONNECT}\n{SHOW}"
    assert run(code, fake, SPARK_BATCHINTORY_AUTOREGISTER=value) == "True True"


def test_reload_and_find_spec_work_as_without_us(fake):
    """
    The hook is invisible afterwards: loader, spec and source are pyspark's own, reloading keeps the attribute.
    """
    code = """
        import importlib, importlib.util, inspect, spark_batchintory
        spec = importlib.util.find_spec("pyspark.sql.connect.readwriter")
        print(spec.name, spec.origin.endswith("readwriter.py"), "class" in spec.loader.get_source(spec.name))
        import pyspark.sql.readwriter as module
        for loader in (module.__loader__, module.__spec__.loader):
            print(type(loader).__name__)
        first = module.DataFrameReader
        module = importlib.reload(module)
        print(module.DataFrameReader is not first, hasattr(module.DataFrameReader, "batchintory"))
        print("class DataFrameReader" in inspect.getsource(module), type(module.__loader__).__name__)
    """
    expected = (
        "pyspark.sql.connect.readwriter True True\nSourceFileLoader\nSourceFileLoader\nTrue True\nTrue SourceFileLoader"
    )
    assert run(code, fake) == expected


def test_pyspark_in_a_zip_is_patched(fake, tmp_path):
    """
    Clusters ship pyspark as a zip; its importer serves other modules too and is left as it is.
    """
    archive = tmp_path / "pyspark.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        for name, text in LAYOUT.items():
            bundle.writestr(name, text)
    code = f"""
        import spark_batchintory
        {CLASSIC}
        {CONNECT}
        {SHOW}
        import pyspark.sql.readwriter as module
        print(type(module.__loader__).__name__)
    """
    assert run(code, archive) == "True True\nzipimporter"


def test_threads_that_import_at_once_agree(fake):
    """
    A pyspark that one thread is importing while another imports us is patched all the same.
    """
    slow = "import gate\ngate.began.set()\ngate.go.wait(20)\nclass DataFrameReader:\n    pass\n"
    (fake / "pyspark/sql/readwriter.py").write_text(slow)
    (fake / "gate.py").write_text("import threading\nbegan, go = threading.Event(), threading.Event()\n")
    code = """
        import gate, sys, threading, time
        import spark_batchintory as bi
        def importing():
            import pyspark.sql
        def opening_the_gate_once_hooked():
            while not any(type(finder).__name__ == "_ReaderFinder" for finder in sys.meta_path):
                time.sleep(0.001)
            time.sleep(0.05)  # so that a patch which does not wait comes too early
            gate.go.set()
        importer = threading.Thread(target=importing)
        importer.start()
        gate.began.wait(20)
        threading.Thread(target=opening_the_gate_once_hooked).start()
        bi.register()
        importer.join()
        print(hasattr(sys.modules["pyspark.sql.readwriter"].DataFrameReader, "batchintory"))
    """
    assert run(code, fake, SPARK_BATCHINTORY_AUTOREGISTER="false") == "True"


def test_the_typed_twin_survives_the_module_of_its_name():
    """
    `bi.reader` is a function before and after the module `spark_batchintory.reading` was needed.
    """
    code = """
        import spark_batchintory as bi
        import spark_batchintory.registration
        from spark_batchintory.reading import BatchintoryReader
        print(callable(bi.reader))
    """
    assert run(code) == "True"


@pytest.mark.parametrize("method", [registration.batchintory, BatchintoryReader.batchintory])
def test_all_ways_to_read_take_the_same_arguments(method):
    """
    The patched method and the twin's are one line over the typed function, and cannot drift from it.
    """
    ours, typed = (list(inspect.signature(function).parameters.values())[1:] for function in (method, batchintory))

    assert ours == typed


def test_the_method_is_found_and_explained_where_people_type(fake):
    """
    Tab completion offers it on a reader, and help shows what each argument means.
    """
    code = """
        import pyspark.sql.readwriter, spark_batchintory, inspect
        method = pyspark.sql.readwriter.DataFrameReader.batchintory
        words = inspect.getdoc(method)
        wanted = list(inspect.signature(method).parameters)[1:]
        offered = "batchintory" in dir(pyspark.sql.readwriter.DataFrameReader())
        print(offered, [name for name in wanted if name not in words])
    """
    assert run(code, fake) == "True []"
