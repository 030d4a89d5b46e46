// The app against the JSON schemas that Make publishes with its editor (integromat/vscode-apps-sdk). They are not ours to
// ship: a copy of that repository's `syntaxes` is read from the contracts' folder where there is one. Where there is
// none, the linter's rules, which were made after them, are what the app is held against.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CONTRACTS, unchecked } from './contracts.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const SYNTAXES = path.join(CONTRACTS, 'make/syntaxes');
const read = (...way) => JSON.parse(readFileSync(path.join(...way), 'utf8'));

const SCHEMA_OF = { communication: 'api', attach: 'api', detach: 'api', params: 'parameters', mappableParams: 'parameters', interface: 'parameters', samples: 'samples' };

const skip = unchecked("the app against Make's own schemas", SYNTAXES);
test("the app is what Make's own schemas ask for", { skip }, async () => {
  const { default: Ajv } = await import('ajv');
  const ajv = new Ajv({ strict: false, allowUnionTypes: true, unicodeRegExp: false });
  const folder = path.join(SYNTAXES, 'imljson/schemas');
  // Their ids inside of a file are not addresses.
  const withoutIds = (_, value) => (value && typeof value === 'object' && /^#/.test(value.$id) ? { ...value, $id: undefined } : value);
  for (const file of readdirSync(folder)) ajv.addSchema(JSON.parse(readFileSync(path.join(folder, file), 'utf8'), withoutIds), file);

  const app = path.join(HERE, '../app');
  const manifest = read(app, 'makecomapp.json');
  const wrong = [];
  function check(what, valid, value) {
    if (!valid(value)) wrong.push(...valid.errors.map((error) => `${what}${error.instancePath} ${error.message} ${JSON.stringify(error.params)}`));
  }
  check('makecomapp.json', ajv.compile(read(SYNTAXES, 'local-development/schemas/makecomapp.schema.json')), manifest);
  for (const what of ['base', 'common', 'groups']) check(what, ajv.getSchema(`${what}.json`), read(app, manifest.generalCodeFiles[what]));
  for (const components of Object.values(manifest.components)) {
    for (const { codeFiles } of Object.values(components)) {
      for (const [what, file] of Object.entries(codeFiles)) check(file, ajv.getSchema(`${SCHEMA_OF[what]}.json`), read(app, file));
    }
  }
  assert.deepEqual(wrong, []);
});
