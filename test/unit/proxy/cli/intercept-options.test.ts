import fc from 'fast-check';
import t from 'tap';
import { environmentTwin, FLAGS, type FlagSpec } from '../../../../proxy/cli/intercept-flags.ts';
import { type InterceptOptions, readInterceptOptions } from '../../../../proxy/cli/intercept-options.ts';
import { includesPort, MULTIPORT_SLOTS, multiportGroups, parsePortSet } from '../../../../proxy/cli/intercept-ports.ts';
import { runs } from '../../../support/fuzz-runs.ts';

function options(argv: string[], env: Record<string, string> = {}): InterceptOptions {
  const result = readInterceptOptions(argv, env);
  if (result.options === null) throw new Error(result.mistakes.join('; '));
  return result.options;
}

t.test('defaults intercept the serving ports outbound and nothing inbound', (t) => {
  const read = options([]);
  t.same(read.outboundPorts, [{ first: 8500, last: 8501 }]);
  t.same(read.inboundPorts, []);
  t.equal(read.proxyOutboundPort, 15001);
  t.end();
});

t.test('every flag is read from its environment twin, and the flag wins', (t) => {
  t.equal(environmentTwin('exclude-outbound-ports'), 'UNDERSTUDY_INTERCEPT_EXCLUDE_OUTBOUND_PORTS');
  t.same(options([], { UNDERSTUDY_INTERCEPT_OUTBOUND_PORTS: 'all' }).outboundPorts, 'all');
  const env = { UNDERSTUDY_INTERCEPT_OUTBOUND_PORTS: '9000-9010', UNDERSTUDY_INTERCEPT_PROXY_UID: '7,8' };
  const read = options(['--outbound-ports=8500,9000', '--families', '4'], env);
  t.same(read.outboundPorts, [
    { first: 8500, last: 8500 },
    { first: 9000, last: 9000 },
  ]);
  t.same(read.proxyUids, [7, 8]);
  t.equal(read.families, '4');
  for (const { flag, default: value } of FLAGS)
    t.equal(readInterceptOptions([`--${flag}`, value], {}).mistakes, null, flag);
  t.end();
});

t.test('each flag and its twin come to the same options, and not to the default', (t) => {
  const samples: Record<string, string> = {
    ports: '81,9000-9010',
    port: '15123',
    cidrs: '10.9.0.0/16,fd09::/16',
    ids: '4001,4002',
    names: 'eth1,net+',
    duration: '250ms',
  };
  for (const spec of FLAGS as readonly FlagSpec[]) {
    const value = samples[spec.kind] ?? spec.choices!.find((choice) => choice !== spec.default)!;
    const given = options([`--${spec.flag}`, value]);
    t.same(options([], { [environmentTwin(spec.flag)]: value }), given, spec.flag);
    t.strictNotSame(given, options([]), spec.flag);
  }
  t.end();
});

t.test('all mistakes are reported together, each with name, value and expectation', (t) => {
  const { mistakes } = readInterceptOptions(
    [
      '--outbound-ports',
      '8500,x',
      '--frobnicate',
      '--exclude-outbound-cidrs=10.0.0.0/33',
      '--proxy-inbound-port',
      '0',
      '--families',
    ],
    { UNDERSTUDY_INTERCEPT_EXCLUDE_UIDS: 'nobody', UNDERSTUDY_INTERCEPT_TYPO: '1', UNDERSTUDY_INTERCEPT_DRAIN: '5' },
  );
  const text = mistakes!.join('\n');
  t.match(text, /--frobnicate: not a flag/);
  t.match(text, /--families: a value must follow/);
  t.match(text, /UNDERSTUDY_INTERCEPT_TYPO: not a setting/);
  t.match(text, /--outbound-ports=8500,x: expected ports from 1 to 65535/);
  t.match(text, /--exclude-outbound-cidrs=10.0.0.0\/33: .*address block/);
  t.match(text, /--proxy-inbound-port=0: expected one port/);
  t.match(text, /UNDERSTUDY_INTERCEPT_EXCLUDE_UIDS=nobody: .*numeric id/);
  t.match(text, /UNDERSTUDY_INTERCEPT_DRAIN=5: expected .*unit/);
  t.equal(mistakes!.length, 8);
  t.end();
});

t.test('values that would loop or do nothing are refused', (t) => {
  for (const [argv, expected] of [
    [['--proxy-uid', 'none', '--proxy-gid', 'none'], /come back to it for ever/],
    [['--proxy-inbound-port', '15001'], /give each its own/],
    [['--inbound-ports', '15000-15010'], /a listener of the proxy itself/],
    [['--outbound-ports', 'none'], /nothing to intercept/],
    [['--exclude-inbound-ports', 'all'], /all is not a list/],
    [
      [
        '--include-interfaces',
        Array.from({ length: 20 }, (_, i) => `eth${i}`).join(),
        '--include-outbound-cidrs',
        Array.from({ length: 30 }, (_, i) => `10.${i}.0.0/16`).join(),
      ],
      /--include-outbound-cidrs and --outbound-ports multiply to 600 rules, more than 512/,
    ],
    [['--exclude-uids', Array.from({ length: 65 }, (_, i) => i).join(',')], /more than 64/],
  ] as const) {
    t.match(readInterceptOptions(argv, {}).mistakes?.join(), expected);
  }
  t.end();
});

t.test('nothing that could end a rule or start another gets through', (t) => {
  const pieces = ['\n', ' ', '-j', "'", '"', ';', '8500', ',', 'eth0', '10.0.0.0/8', '#', '\t', '/', '+'];
  const hostile = fc.string({ unit: fc.constantFrom(...pieces) });
  fc.assert(
    fc.property(hostile, fc.constantFrom(...FLAGS.map((spec) => spec.flag)), (text, flag) => {
      const read = readInterceptOptions([`--${flag}`, text], {}).options;
      if (read === null) return;
      const written = [
        ...read.excludeInterfaces,
        ...[read.excludeOutboundCidrs, read.excludeInboundCidrs].flat().map((cidr) => cidr.text),
      ];
      for (const part of written) if (/[^A-Za-z0-9_.:/+-]/.test(part) || part.startsWith('-')) throw new Error(part);
    }),
    { numRuns: runs(2000) },
  );
  t.end();
});

t.test('port groups fit one rule each and cover exactly the ports asked for', (t) => {
  const range = fc.tuple(fc.integer({ min: 1, max: 65535 }), fc.integer({ min: 0, max: 40 }));
  fc.assert(
    fc.property(
      fc.array(range, { minLength: 1, maxLength: 60 }),
      fc.integer({ min: 1, max: 65535 }),
      (ranges, probe) => {
        const text = ranges.map(([first, more]) => `${first}-${Math.min(65535, first + more)}`).join(',');
        const set = parsePortSet(text);
        if (set === 'all') throw new Error('never all');
        const groups = multiportGroups(set);
        for (const group of groups) if (group.split(/[,:]/).length > MULTIPORT_SLOTS) throw new Error(group);
        const grouped = parsePortSet(groups.join(',').replaceAll(':', '-'));
        const expected = ranges.some(([first, more]) => probe >= first && probe <= first + more);
        if (includesPort(set, probe) !== expected || includesPort(grouped, probe) !== expected)
          throw new Error(`${probe}`);
      },
    ),
    { numRuns: runs(300) },
  );
  t.end();
});
