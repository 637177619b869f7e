import t from 'tap';
import { NameAllocator } from '../../../../proxy/config/allocation.ts';
import { compileMesh, EMPTY_DOCUMENT } from '../../../../proxy/config/compile.ts';
import { parseDocument } from '../../../../proxy/config/document.ts';
import { parseEnvironment } from '../../../../proxy/config/env.ts';
import { ProblemList } from '../../../../proxy/config/problem.ts';
import type { EndpointAddress, MeshSnapshot } from '../../../../proxy/config/snapshot.ts';
import { EndpointDirectory } from '../../../../proxy/discovery/endpoint-directory.ts';
import { EndpointPlaces } from '../../../../proxy/discovery/endpoint-places.ts';
import { NameResolver } from '../../../../proxy/discovery/name-resolver.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

function compile(document: object): MeshSnapshot {
  const problems = new ProblemList();
  const parsed = parseDocument(JSON.stringify(document), problems) ?? EMPTY_DOCUMENT;
  return compileMesh(parseEnvironment({}, problems), parsed, new NameAllocator().allocate, 1, problems)!;
}

class World {
  readonly clock = new VirtualClock();
  readonly answers = new Map<string, readonly string[]>();
  readonly failures: string[] = [];
  changes = 0;
  readonly reused: number[] = [];
  readonly places = new EndpointPlaces({ count: 4, onReuse: (place) => this.reused.push(place) });
  readonly resolver = new NameResolver({
    clock: this.clock,
    onChange: () => this.changes++,
    onFailure: (name) => this.failures.push(name),
    lookup: async (name) => {
      const answer = this.answers.get(name);
      if (answer === undefined) throw new Error('no such name');
      return answer;
    },
  });
  readonly directory = new EndpointDirectory(this.clock, this.places, this.resolver);

  async resolve(): Promise<void> {
    this.resolver.tick();
    await new Promise((done) => setImmediate(done));
  }

  /** Hosts, addresses they are known to have, and places of the first cluster. */
  locate(mesh: MeshSnapshot) {
    const { endpoints, endpointPlaces } = this.directory.locate(mesh).clusters[0]!;
    const tcp = endpoints as Extract<EndpointAddress, { kind: 'tcp' }>[];
    return {
      hosts: tcp.map(({ host }) => host),
      resolved: tcp.map(({ resolved }) => resolved),
      places: endpointPlaces,
    };
  }
}

const HEADLESS = compile({
  clusters: [{ name: 'c', endpoints: ['models:8500'], discovery: 'addresses', dnsRefresh: '1s' }],
});

t.test('every address of a name is an endpoint with a place it keeps', async (test) => {
  const world = new World();
  test.same(world.locate(HEADLESS).hosts, ['models'], 'the name itself until it is known');
  world.answers.set('models', ['10.0.0.2', '10.0.0.1']);
  await world.resolve();
  test.equal(world.changes, 1);
  test.match(world.locate(HEADLESS), { hosts: ['10.0.0.1', '10.0.0.2'], places: [0, 1] });
  world.answers.set('models', ['10.0.0.2', '10.0.0.3']);
  await world.resolve();
  test.equal(world.changes, 1, 'not yet due');
  world.clock.advance(1000);
  await world.resolve();
  test.match(world.locate(HEADLESS), { hosts: ['10.0.0.2', '10.0.0.3'], places: [1, 2] });
});

t.test('a lookup that fails leaves the last answer in force', async (test) => {
  const world = new World();
  world.answers.set('models', ['10.0.0.1', '10.0.0.2']);
  world.locate(HEADLESS);
  await world.resolve();
  world.answers.clear();
  world.clock.advance(1000);
  await world.resolve();
  test.same(world.failures, ['models']);
  test.same(world.locate(HEADLESS).hosts, ['10.0.0.1', '10.0.0.2']);
  test.equal(world.changes, 1);
});

t.test('an endpoint by name stays one endpoint, told what the name resolves to', async (test) => {
  const world = new World();
  const mesh = compile({ clusters: [{ name: 'c', endpoints: ['models:8500'] }] });
  world.answers.set('models', ['10.0.0.9', '::9']);
  world.locate(mesh);
  await world.resolve();
  test.same(world.locate(mesh), { hosts: ['models'], resolved: [['10.0.0.9', '::9']], places: [] });
});

t.test('of a name with addresses of both families one is taken, and addresses are never looked up', async (test) => {
  const world = new World();
  world.answers.set('models', ['::1', '10.0.0.1']);
  world.locate(HEADLESS);
  await world.resolve();
  test.same(world.locate(HEADLESS).hosts, ['10.0.0.1']);
  const fixed = compile({ clusters: [{ name: 'c', endpoints: ['10.1.1.1:1', '[::1]:2'] }] });
  world.locate(fixed);
  await world.resolve();
  test.same(world.failures, []);
});

t.test('a place is given away a minute after its endpoint has gone, and not before', async (test) => {
  const clock = new VirtualClock();
  const reused: number[] = [];
  const places = new EndpointPlaces({ count: 2, onReuse: (place) => reused.push(place) });
  test.equal(places.place('c', 'a', clock.nowMs()), 0);
  test.equal(places.place('c', 'b', clock.nowMs()), 1);
  places.retain(new Set(['c\nb']), clock.nowMs());
  test.equal(places.place('c', 'new', clock.nowMs()), -1);
  test.equal(places.refused, 1);
  clock.advance(60_000);
  test.equal(places.place('c', 'new', clock.nowMs()), 0);
  test.same(reused, [0]);
});
