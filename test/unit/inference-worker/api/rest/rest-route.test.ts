/** The paths of the REST API. */
import t from 'tap';
import { restRoute } from '../../../../../inference-worker/api/rest/rest-route.ts';

const post = (path: string) => restRoute('POST', path);
const get = (path: string) => restRoute('GET', path);

t.test('models, versions, labels and actions are read from the path', async (t) => {
  t.same(post('/v1/models/m:predict'), { action: 'predict', model: 'm', version: null, label: null });
  t.same(post('/V1/MODELS/M/Versions/00012:Classify'), { action: 'classify', model: 'M', version: 12n, label: null });
  t.same(post('/v1/models/a%20b/labels/canary%2F1:regress'), {
    action: 'regress',
    model: 'a b',
    version: null,
    label: 'canary/1',
  });
  t.same(get('/v1/models/m'), { action: 'status', model: 'm', version: null, label: null });
  t.same(get('/v1/models/m/versions/9223372036854775807/metadata'), {
    action: 'metadata',
    model: 'm',
    version: 9223372036854775807n,
    label: null,
  });
  t.equal(post('/v1/models/m:predict'), post('/v1/models/m:predict'));
});

t.test('other paths are malformed, and say which', async (t) => {
  for (const path of [
    '/v1/models/m:train',
    '/v1/models/m',
    '/v1/models/m/versions/x:predict',
    '/v1/',
    '/v1/models/a/b:predict',
  ]) {
    t.match(post(path), { code: 3, message: `Malformed request: POST ${path}` });
  }
  t.match(get('/v1/models/m:predict'), { message: 'Malformed request: GET /v1/models/m:predict' });
  t.match(get('/v1/models'), { message: 'Missing model name in request.' });
  t.match(get('/v1/models/%zz'), { message: 'Failed to decode model name:%zz' });
  t.match(get('/v1/models/m/versions/9223372036854775808'), {
    message: 'Failed to convert version: 9223372036854775808 to numeric.',
  });
});
