// Writes app/ from app.mjs, the recorded samples, and what the server says of its answers and events.
// With --check it writes nothing and fails where app/ is another.
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { goodword } from '../test/server.mjs';
import { base, connection, groups, modules, rpcs, webhooks } from './app.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const APP = path.join(HERE, '../app');

// ---- interfaces, from JSON Schema

const LABELS = { api_version: 'API version', amount_minor: 'Amount in cents', n: 'Number', why: 'Reason' };
const words = (name) => name.replaceAll('_', ' ').replace(/^./, (c) => c.toUpperCase()).replace(/ id$/, ' ID');
const label = (name, of) => (name === 'id' ? `${of} ID` : (LABELS[name] ?? words(name)));
const title = (name) => name.replace(/(Ref|Made|View|State|WithHistory)$/, '');

function interfaces(definitions) {
  // What a schema is beside null, and under which name it was found.
  function resolve(schema, name) {
    if (schema.$ref) {
      const found = schema.$ref.split('/').pop();
      return resolve(definitions[found], found);
    }
    const other = (schema.oneOf ?? []).filter((one) => one.type !== 'null');
    return other.length === 1 ? resolve(other[0], name) : { schema, name };
  }

  const types = (schema) => [schema.type].flat().filter((type) => type !== 'null');

  function members(schema, of) {
    const fields = Object.entries(schema.properties).map(([name, inner]) => field(name, inner, of));
    return fields.filter(Boolean);
  }

  function field(name, raw, of) {
    const { schema, name: found } = resolve(raw);
    const known = types(schema);
    // null and nothing else: this event never carries it.
    if (schema.type === 'null') return undefined;
    const made = { name, type: 'text', label: label(name, of) };
    if (schema.properties) return { ...made, type: 'collection', spec: members(schema, title(found ?? words(name))) };
    if (known.includes('object')) return { ...made, type: 'collection' };
    if (known.includes('array')) {
      const item = resolve(schema.items);
      const spec = item.schema.properties ? members(item.schema, title(item.name)) : { type: 'text' };
      return { ...made, type: 'array', spec };
    }
    if (known.includes('string')) {
      if (schema.format === 'date-time') return { ...made, type: 'date' };
      if (name === 'email') return { ...made, type: 'email' };
      if (name === 'referral_link' || name === 'url') return { ...made, type: 'url' };
      return made;
    }
    // A constant has no type: an event's own.
    return { ...made, type: known[0] ?? 'text' };
  }

  return (root, of) => {
    const { schema, name } = resolve(root);
    return members(schema, of ?? title(name));
  };
}

// ---- the folder

const kebab = (name) => name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);
const json = (value) => `${JSON.stringify(value, null, 2)}\n`;

async function compose() {
  const server = await goodword();
  const { components } = await server.api('GET', '/openapi.json');
  const { data: events } = await server.api('GET', '/v1/event-types');
  await server.stop();
  const event = (type) => events.find((one) => one.type === type);

  const files = new Map();
  function component(folder, id, code) {
    const codeFiles = {};
    for (const [kind, value] of Object.entries(code)) {
      if (value === undefined) continue;
      const file = `${folder}/${kebab(id)}/${kebab(id)}.${kebab(kind)}.iml.json`;
      files.set(file, json(value));
      codeFiles[kind] = file;
    }
    return codeFiles;
  }

  function output(module) {
    if (Array.isArray(module.output)) return module.output;
    const type = /^event:(.+)/.exec(module.output)?.[1];
    if (!type) return interfaces(components.schemas)({ $ref: `#/components/schemas/${module.output}` });
    const { schema } = event(type);
    return interfaces(schema.$defs)(schema, 'Event');
  }

  function samples(id, module) {
    if (module.moduleType === 'instant_trigger') return event(/^event:(.+)/.exec(module.output)?.[1] ?? 'lead.qualified').example;
    if (module.sample) return module.sample;
    const file = path.join(HERE, `samples/${id}.json`);
    return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
  }

  files.set('general/base.iml.json', json(base));
  files.set('general/common.json', json({}));
  files.set('modules/groups.json', json(groups));
  files.set('README.md', readFileSync(path.join(HERE, 'readme.md'), 'utf8'));

  const each = (list, make) => Object.fromEntries(Object.entries(list).map(([id, one]) => [id, make(id, one)]));
  const manifest = {
    fileVersion: 1,
    generalCodeFiles: { base: 'general/base.iml.json', common: 'general/common.json', readme: 'README.md', groups: 'modules/groups.json' },
    components: {
      connection: each({ goodword: connection }, (id, { label, ...code }) => ({ label, connectionType: 'basic', codeFiles: component('connections', id, code) })),
      webhook: each(webhooks, (id, { label, ...code }) => ({ label, connection: 'goodword', webhookType: 'web', codeFiles: component('webhooks', id, code) })),
      module: each(modules, (id, module) => {
        const { label, description, moduleType, actionCrud, webhook, communication, mappableParams } = module;
        const connection = webhook ? undefined : 'goodword';
        const code = { communication, mappableParams, interface: output(module), samples: samples(id, module) };
        return { label, description, moduleType, actionCrud, connection, webhook, codeFiles: component('modules', id, code) };
      }),
      rpc: each(rpcs, (id, { label, ...code }) => ({ label, connection: 'goodword', codeFiles: component('rpcs', id, code) })),
      function: {},
      endpoint: {},
    },
    // The extension adds yours when you deploy.
    origins: [],
  };
  files.set('makecomapp.json', json(manifest));
  return files;
}

const files = await compose();
const there = existsSync(APP) ? readdirSync(APP, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()) : [];
const old = new Map(there.map((entry) => path.join(entry.parentPath ?? entry.path, entry.name)).map((file) => [path.relative(APP, file), readFileSync(file, 'utf8')]));
const names = [...new Set([...files.keys(), ...old.keys()])].sort();
const other = names.filter((name) => files.get(name) !== old.get(name));

if (process.argv.includes('--check')) {
  if (other.length) {
    console.error(`app/ is not what src/ and the server make of it; run \`npm run build\`:\n  ${other.join('\n  ')}`);
    process.exit(1);
  }
} else {
  for (const name of other) {
    const file = path.join(APP, name);
    if (!files.has(name)) rmSync(file);
    else {
      mkdirSync(path.dirname(file), { recursive: true });
      writeFileSync(file, files.get(name));
    }
  }
  console.log(`app/: ${files.size} files, ${other.length} of them changed`);
}
