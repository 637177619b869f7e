/** REST Predict bodies into tensors and back, with TensorFlow Serving's texts. */
import fc from 'fast-check';
import t from 'tap';
import { ByteSink } from '../../../../proto/tensor/byte-sink.ts';
import { allocateElements, DataType, type ElementArray } from '../../../../proto/tensor/dtype.ts';
import { elementBits } from '../../../../proto/tensor/element-bits.ts';
import { type JsonInput, JsonPredictReader } from '../../../../proto/tensor/json-predict-request.ts';
import { JsonPredictWriter } from '../../../../proto/tensor/json-predict-response.ts';
import type { JsonOutput } from '../../../../proto/tensor/json-tensor-writer.ts';
import { copyStringsInto, copyTensorInto, PredictRequestView } from '../../../../proto/tensor/tensor-view.ts';
import { runs } from '../../../support/fuzz-runs.ts';

const reader = new JsonPredictReader();
const view = new PredictRequestView();
const sink = new ByteSink();
const writer = new JsonPredictWriter(sink);

const float = (name: string): JsonInput => ({ name, dtype: DataType.FLOAT });

interface Read {
  dims: number[];
  values: unknown[];
}

/** Tensors of a body by name. */
function read(body: string | Buffer, inputs: readonly JsonInput[]): Record<string, Read> {
  const bytes = Buffer.from(body);
  reader.begin(bytes, 0, bytes.length);
  const buf = reader.fill(inputs, view);
  const tensors: Record<string, Read> = {};
  for (let i = 0; i < view.inputs.count; i++) {
    const tensor = view.inputs.tensors[i]!;
    const dims = tensor.dims.slice(0, tensor.rank);
    const values = allocateElements(tensor.dtype, tensor.elementCount);
    const strings: string[] = [];
    if (values === null) copyStringsInto(buf, tensor, strings, 0, tensor.elementCount);
    else copyTensorInto(buf, tensor, values, 0, tensor.elementCount);
    tensors[view.inputs.nameAt(buf, i)] = { dims, values: values === null ? strings : [...values] };
  }
  return tensors;
}

function problem(body: string, inputs: readonly JsonInput[]): string {
  try {
    read(body, inputs);
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}

function write(format: 'row' | 'columnar', outputs: readonly JsonOutput[]): string {
  sink.clear();
  writer.write(format, outputs);
  return sink.view().toString();
}

const floats = (name: string, dims: number[], values: number[]): JsonOutput => ({
  name,
  dtype: DataType.FLOAT,
  dims,
  data: Float32Array.from(values),
  from: 0,
  count: values.length,
});

t.test('rows become a batch, named or not', async (t) => {
  t.same(read('{"instances": [[1, 2.5], [3e0, -4]]}', [float('x')]), { x: { dims: [2, 2], values: [1, 2.5, 3, -4] } });
  t.same(read('{"instances":[1,2,3]}', [float('x')]), { x: { dims: [3], values: [1, 2, 3] } });
  t.same(read('{"instances":[{"x":[1]},{"x":[2]}]}', [float('x')]), { x: { dims: [2, 1], values: [1, 2] } });
  t.same(read('{"instances":[{"a":1,"b":[2,3]},{"b":[5,6],"a":4}]}', [float('a'), float('b')]), {
    a: { dims: [2], values: [1, 4] },
    b: { dims: [2, 2], values: [2, 3, 5, 6] },
  });
  t.equal(reader.format, 'row');
});

t.test('columns are whole tensors, named or not', async (t) => {
  t.same(read('{"inputs": [[1, 2], [3, 4], [5, 6]]}', [float('x')]), {
    x: { dims: [3, 2], values: [1, 2, 3, 4, 5, 6] },
  });
  t.same(read('{"inputs": 7}', [float('x')]), { x: { dims: [], values: [7] } });
  t.same(read('{"inputs": {"b": [1], "other": {}, "a": [[2]]}}', [float('a'), float('b')]), {
    a: { dims: [1, 1], values: [2] },
    b: { dims: [1], values: [1] },
  });
  t.equal(reader.format, 'columnar');
});

t.test('the signature name is found wherever it stands', async (t) => {
  read('{"instances":[1],"signature_name":"s\\u0031"}', [float('x')]);
  t.equal(reader.signatureName, 's1');
  read('{"instances":[1]}', [float('x')]);
  t.equal(reader.signatureName, '');
  t.match(problem('{"signature_name": 1}', [float('x')]), /'signature_name' key must be a string value\.$/);
});

t.test('strings come plain, escaped and as base64', async (t) => {
  const text = { name: 's', dtype: DataType.STRING };
  t.same(read('{"instances":["a", "\\u00e9\\n\\ud83d\\ude00", {"b64":"aGk="}, {"b64":"aGk"}, "ö"]}', [text]), {
    s: { dims: [5], values: ['a', 'é\n😀', 'hi', 'hi', 'ö'] },
  });
  t.same(read('{"inputs":{"b64":"aGk="}}', [text]), { s: { dims: [], values: ['hi'] } });
  t.equal(problem('{"inputs":[{"b64":"*"}]}', [text]), 'Unable to base64 decode');
  t.equal(
    problem('{"inputs":[{"b64":1}]}', [text]),
    'JSON Value: {\n    "b64": 1\n} not formatted correctly for base64 data',
  );
});

t.test('64-bit integers are exact and out-of-range numbers are refused', async (t) => {
  const long = { name: 'n', dtype: DataType.INT64 };
  t.same(read('{"inputs":[9223372036854775807,-9223372036854775808,9007199254740993]}', [long])['n'], {
    dims: [3],
    values: [9223372036854775807n, -9223372036854775808n, 9007199254740993n],
  });
  t.equal(
    problem('{"inputs":[9223372036854775808]}', [long]),
    'JSON Value: 9223372036854775808 Type: Number is not of expected type: int64',
  );
  t.equal(
    problem('{"inputs":[1.0]}', [{ name: 'n', dtype: DataType.INT32 }]),
    'JSON Value: 1.0 Type: Number is not of expected type: int32',
  );
  t.match(problem('{"inputs":[256]}', [{ name: 'n', dtype: DataType.UINT8 }]), /expected type: uint8/);
  t.equal(
    problem('{"inputs":[16777217]}', [float('x')]),
    'Cannot convert JSON value: 16777217 to float without loss of precision.',
  );
  t.match(problem('{"inputs":[1e39]}', [float('x')]), /to float without loss/);
  t.equal(problem('{"inputs":[[true]]}', [float('x')]), 'JSON Value: true Type: True is not of expected type: float');
});

t.test('NaN and the infinities reach float tensors', async (t) => {
  t.same(read('{"inputs":[NaN,-Infinity,Inf,1]}', [float('x')])['x']?.values, [
    Number.NaN,
    Number.NEGATIVE_INFINITY,
    Number.POSITIVE_INFINITY,
    1,
  ]);
});

t.test('mistakes have the texts of TensorFlow Serving', async (t) => {
  const x = [float('x')];
  const ab = [float('a'), float('b')];
  t.equal(problem('', x), 'JSON Parse error: The document is empty');
  t.equal(problem('[1]', x), 'JSON Value: [\n    1\n] Is not object');
  t.equal(problem('{}', x), "Missing 'inputs' or 'instances' key");
  t.match(problem('{"inputs":1,"instances":[1]}', x), /expecting only one of 'inputs' or 'instances' keys to exist $/);
  t.match(problem('{"instances":1}', x), /Excepting 'instances' to be an list\/array$/);
  t.match(problem('{"instances":[]}', x), /No values in 'instances' array$/);
  t.equal(problem('{"inputs":{"y":1}}', x), "Missing named input: x in 'inputs' object.");
  t.match(problem('{"inputs":[1]}', ab), /^inputs is a plain value\/list, but expecting an object as multiple/);
  t.match(problem('{"instances":[1]}', ab), /^instances is a plain list, but expecting list of objects/);
  t.equal(problem('{"instances":[{"a":1,"b":1},2]}', ab), 'Expecting object but got list at item 1 of input list');
  t.equal(problem('{"instances":[1,{"x":1}]}', x), 'Expecting value/list but got object at item 1 of input list');
  t.equal(
    problem('{"instances":[{"a":1}]}', ab),
    'Failed to process element: 0 of \'instances\' list. JSON object: {\n    "a": 1\n} keys must be equal to: a,b',
  );
  t.equal(
    problem('{"instances":[{"c":1}]}', ab),
    "Failed to process element: 0 key: c of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not have named input: c",
  );
  t.equal(
    problem('{"instances":[[1],[2,3]]}', x),
    "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 1 but got: 2",
  );
  t.equal(
    problem('{"instances":[[1,2],[[1,2]]]}', x),
    "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [2] but got: [1,2]",
  );
  t.equal(problem('{"inputs":[[1,2],[3]]}', x), 'Encountered list at unexpected size: 1 at level: 1 expected size: 2');
  t.equal(problem('{"inputs":[1,[2]]}', x), 'Encountered list at unexpected level: 1 expected < 1');
  t.equal(
    problem('{"inputs":[[1],2]}', x),
    'JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2',
  );
});

t.test('answers are laid out as TensorFlow Serving lays them out', async (t) => {
  t.equal(write('row', [floats('y', [3], [2.5, 3, 4.5])]), '{\n    "predictions": [2.5, 3.0, 4.5\n    ]\n}');
  t.equal(write('row', [floats('y', [2, 2], [1, 2, 3, 4])]), '{\n    "predictions": [[1.0, 2.0], [3.0, 4.0]\n    ]\n}');
  t.equal(
    write('row', [floats('a', [2], [1, 2]), floats('b', [2, 1], [3, 4])]),
    `{
    "predictions": [
        {
            "a": 1.0,
            "b": [3.0]
        },
        {
            "a": 2.0,
            "b": [4.0]
        }
    ]
}`,
  );
  t.equal(
    write('columnar', [floats('y', [2, 1], [1, 2])]),
    `{
    "outputs": [
        [
            1.0
        ],
        [
            2.0
        ]
    ]
}`,
  );
  t.equal(write('columnar', [floats('y', [], [0.1])]), '{\n    "outputs": 0.1\n}');
  t.equal(
    write('columnar', [floats('a', [1], [1]), floats('b', [0], [])]),
    `{
    "outputs": {
        "a": [
            1.0
        ],
        "b": []
    }
}`,
  );
  t.throws(() => write('row', [floats('y', [], [1])]), { message: 'Tensor name: y has no shape information ' });
  t.throws(() => write('row', [floats('a', [1], [1]), floats('b', [2], [1, 2])]), {
    message: 'Tensor name: b has inconsistent batch size: 2 expecting: 1',
  });
});

t.test('outputs named _bytes are base64, other strings are escaped', async (t) => {
  const strings = (name: string): JsonOutput => ({
    name,
    dtype: DataType.STRING,
    dims: [1],
    data: ['h"i\n'],
    from: 0,
    count: 1,
  });
  t.equal(write('row', [strings('s')]), '{\n    "predictions": ["h\\"i\\n"\n    ]\n}');
  t.same(JSON.parse(write('row', [strings('s_bytes')])), { predictions: [{ b64: 'aCJpCg==' }] });
});

const NUMERIC = [
  DataType.FLOAT,
  DataType.DOUBLE,
  DataType.HALF,
  DataType.INT8,
  DataType.UINT8,
  DataType.INT16,
  DataType.UINT16,
  DataType.INT32,
  DataType.UINT32,
  DataType.INT64,
  DataType.UINT64,
  DataType.BOOL,
];

/** NaNs of one type are one value to JSON. */
function sameElements(dtype: number, a: ElementArray, b: ElementArray): boolean {
  const left = dtype === DataType.HALF ? new Float16Array(a.buffer as ArrayBuffer) : a;
  const right = dtype === DataType.HALF ? new Float16Array(b.buffer as ArrayBuffer) : b;
  for (let i = 0; i < a.length; i++) if (!Object.is(left[i], right[i])) return false;
  return true;
}

t.test('any tensor of any type written as JSON reads back as the same bits', async (t) => {
  fc.assert(
    fc.property(
      fc.constantFrom(...NUMERIC),
      fc.array(fc.nat(4), { maxLength: 4 }),
      fc.constantFrom('row' as const, 'columnar' as const),
      fc.infiniteStream(fc.integer()),
      (dtype, dims, format, stream) => {
        // Lists of nothing lose what would be inside them.
        const empty = dims.indexOf(0);
        const shape = format === 'row' ? [Math.max(1, dims[0] ?? 1), ...dims.slice(1).map((dim) => dim || 1)] : dims;
        if (format === 'columnar' && empty >= 0) shape.length = empty + 1;
        const count = shape.reduce((product, dim) => product * dim, 1);
        const data = allocateElements(dtype, count)!;
        const { bytes } = elementBits(data);
        for (let i = 0; i < bytes.length; i++)
          bytes[i] = dtype === DataType.BOOL ? stream.next().value & 1 : stream.next().value;
        const output: JsonOutput = { name: 'y', dtype, dims: shape, data, from: 0, count };
        const text = write(format, [output])
          .replace(/predictions/, 'instances')
          .replace(/outputs/, 'inputs');
        const tensor = read(text, [{ name: 'y', dtype }])['y']!;
        t.same(tensor.dims, shape);
        const back = allocateElements(dtype, count)!;
        copyTensorInto(reader.fill([{ name: 'y', dtype }], view), view.inputs.tensors[0]!, back, 0, count);
        t.ok(sameElements(dtype, data, back), text);
      },
    ),
    { numRuns: runs(400) },
  );
});

t.test('random bodies are read or refused, and nothing else happens', async (t) => {
  const piece = fc.constantFrom(
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"instances"',
    '"inputs"',
    '"a"',
    '1',
    '-2.5e3',
    'NaN',
    '{"b64":""}',
    '""',
  );
  const types = [
    { name: 'a', dtype: DataType.FLOAT },
    { name: 'b', dtype: DataType.STRING },
  ];
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), fc.integer({ min: 1, max: 2 }), (pieces, count) => {
      const inner = pieces.join('');
      for (const body of [inner, `{"instances":[${inner}]}`, `{"inputs":{"a":${inner}}}`])
        problem(body, types.slice(0, count));
    }),
    { numRuns: runs(2000) },
  );
  t.pass();
});
