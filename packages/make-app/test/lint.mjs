// What can be wrong with an app without running it. The rules are those of Make's published schemas (vscode-apps-sdk,
// syntaxes/), of its review, and of what this app's tests know: an expression that they cannot evaluate is refused.
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { App } from './engine.mjs';
import { misfits } from './interface.mjs';
import { isFunction, isKeyword, parse, parts } from './iml.mjs';

const set = (text) => new Set(text.split(' '));
const CODE_FILES = {
  connection: set('communication params'),
  webhook: set('communication params attach detach'),
  module: set('communication mappableParams interface samples'),
  rpc: set('communication params'),
};
const COMPONENT = set('label description moduleType actionCrud connection webhook connectionType webhookType codeFiles');
const REQUEST = set('url baseUrl method headers qs body type condition pagination response log');
const RESPONSE = set('type valid limit error iterate output data metadata uid wrapper');
const WEBHOOK = set('verification condition output');
const METHODS = set('GET POST PUT PATCH DELETE');
const ERRORS = set(
  'RuntimeError DataError RateLimitError OutOfSpaceError ConnectionError InvalidConfigurationError InvalidAccessTokenError IncompleteDataError DuplicateDataError',
);
const PARAMETER = set('name label help type default advanced required multiline multiple editable options spec');
const TYPES = set('any array boolean collection date email integer number password select text uinteger url');
const SENTENCE_CASE = /^([A-Z][a-z']*|API|URL)( [a-z',]+| ID)*$/;

// Which variables an expression sees.
const SEES = {
  connection: set('parameters body statusCode'),
  attach: set('connection parameters webhook body statusCode'),
  detach: set('connection webhook body statusCode'),
  incoming: set('webhook data body headers'),
  module: set('connection parameters body headers statusCode item'),
  rpc: set('connection parameters body statusCode item output'),
};

/** Everything that is wrong, one line each. */
export function lint(folder) {
  const app = new App(folder);
  const { components } = app.manifest;
  const wrong = [];
  const say = (where, what) => wrong.push(`${where}: ${what}`);
  const only = (where, object, allowed) => Object.keys(object).forEach((key) => allowed.has(key) || say(where, `${key} is not known here`));

  // ---- parameters

  const names = (params) => params.flatMap((param) => [param.name, ...names(nestedOf(param))]);
  function nestedOf({ options }) {
    const nested = Array.isArray(options) ? options.flatMap((option) => option.nested ?? []) : (options?.nested ?? []);
    // A form that comes from the server: what is in its wrapper.
    if (typeof nested === 'string') return app.code('rpc', nested.replace('rpc://', ''), 'communication')?.response.wrapper ?? [];
    return nested;
  }

  function parameter(where, param) {
    const here = `${where} ${param.name}`;
    only(here, param, PARAMETER);
    if (!/^\w{1,128}$/.test(param.name ?? '')) say(here, 'a name of letters, digits and _');
    if (!TYPES.has(param.type)) say(here, `${param.type} is not a type`);
    if (!param.label || param.label.length > 256 || !SENTENCE_CASE.test(param.label)) say(here, `the label ${JSON.stringify(param.label)} is not in sentence case`);
    if (param.help && !/[.!]$/.test(param.help)) say(here, 'help ends with a full stop');
    if (param.type === 'select' && !param.options) say(here, 'a select without options');
    if (param.type === 'array' && !param.spec) say(here, 'an array without spec');
    for (const option of Array.isArray(param.options) ? param.options : []) only(here, option, set('label value nested'));
    // What a drop-down's spec will be is only known once it was asked.
    for (const inner of [...(Array.isArray(param.spec) ? param.spec : []), ...nestedOf(param)].filter((one) => typeof one.spec !== 'string')) {
      parameter(here, inner);
    }
  }

  function parameters(where, params) {
    params.forEach((param) => parameter(where, param));
    const all = params.map((param) => param.name);
    all.filter((name, n) => all.indexOf(name) !== n).forEach((name) => say(where, `${name} is there twice`));
    if (all.includes('limit') && all.at(-1) !== 'limit') say(where, 'limit comes last');
  }

  // ---- expressions

  const strings = function* (value, way = '') {
    if (typeof value === 'string') yield [way, value];
    else if (value && typeof value === 'object') for (const [key, inner] of Object.entries(value)) yield* strings(inner, `${way}/${key}`);
  };

  /** Every variable with its first member, such as parameters.email. */
  function* uses(node) {
    const way = [];
    let root = node;
    for (; root.kind === 'member' || root.kind === 'item'; root = root.of) if (root.kind === 'member') way.unshift(root.name);
    if (root.kind === 'variable') return void (yield [root.name, way[0]]);
    for (const inner of [node.left, node.right, node.of, ...(node.args ?? [])]) if (inner) yield* uses(inner);
  }

  function* calls(node) {
    if (node.kind === 'call') yield node.name;
    for (const inner of [node.left, node.right, node.of, ...(node.args ?? [])]) if (inner) yield* calls(inner);
  }

  const used = new Set();
  function expressions(where, code, sees, has) {
    for (const [way, text] of strings(code)) {
      try {
        for (const { source } of parts(text).filter((part) => part.source !== undefined)) {
          const node = parse(source);
          for (const name of calls(node)) if (!isFunction(name)) say(where, `${way}: there is no function ${name}`);
          for (const [root, member] of uses(node)) {
            if (isKeyword(root)) continue;
            if (!sees.has(root)) say(where, `${way}: there is no variable ${root} here`);
            else if (has[root] && !has[root].has(member)) say(where, `${way}: there is no ${root}.${member}`);
            if (root === 'parameters') used.add(`${where.replace(/ attach$/, '')} ${member}`);
          }
        }
      } catch (error) {
        say(where, `${way}: ${error.message}`);
      }
    }
  }

  // ---- requests

  function request(where, api, { inherits }) {
    only(where, api, REQUEST);
    if (!api.url) return say(where, 'no url');
    if (inherits && !api.url.startsWith('/')) say(where, 'a url that begins with / has the base in front');
    if (!METHODS.has(api.method) && !/^{{.*}}$/.test(api.method)) say(where, `${api.method} is not a method`);
    only(`${where} response`, api.response, RESPONSE);
    if (api.pagination) only(`${where} pagination`, api.pagination, set('condition qs'));
    if (api.response.iterate && api.response.limit === undefined) say(where, 'a list without a limit');
    if (!inherits) errors(where, api);
  }

  function errors(where, { response, log, headers }) {
    if (!response?.error) return say(where, 'an error would not have the words of the server');
    for (const [status, error] of [['', response.error], ...Object.entries(response.error).filter(([key]) => /^\d+$/.test(key))]) {
      if (!ERRORS.has(error.type)) say(where, `${error.type} is not a type of error ${status}`);
      if (!error.message || error.message.length > 1024) say(where, `an error ${status} without a message, or with one of more than 1,024 characters`);
    }
    for (const name of Object.keys(headers)) {
      if (/key|auth/.test(name) && !log?.sanitize.includes(`request.headers.${name}`)) say(where, `${name} is not kept out of the log`);
    }
    if (response.data?.secret && !log?.sanitize.includes('response.body.secret')) say(where, 'the secret is not kept out of the log');
  }

  // ---- the app

  only('makecomapp.json', app.manifest, set('fileVersion generalCodeFiles components origins'));
  only('makecomapp.json', components, set('connection webhook module rpc function endpoint'));
  const listed = new Set(['makecomapp.json', ...Object.values(app.manifest.generalCodeFiles)]);
  for (const [kind, ofKind] of Object.entries(components)) {
    for (const [id, component] of Object.entries(ofKind)) {
      const where = `${kind} ${id}`;
      if (!/^[a-zA-Z][0-9a-zA-Z]{2,63}$/.test(id)) say(where, 'an id of 3 to 64 letters and digits');
      only(where, component, COMPONENT);
      only(where, component.codeFiles, CODE_FILES[kind]);
      if (!component.label) say(where, 'no label');
      if (component.connection && !components.connection[component.connection]) say(where, `there is no connection ${component.connection}`);
      if (component.webhook && !components.webhook[component.webhook]) say(where, `there is no webhook ${component.webhook}`);
      for (const file of Object.values(component.codeFiles)) {
        listed.add(file);
        if (!existsSync(path.join(folder, file))) return [...wrong, `${where}: there is no file ${file}`];
        for (const [way, text] of strings(app.read(file))) {
          const target = /^rpc:\/\/(.*)/.exec(text)?.[1];
          if (target && !components.rpc[target]) return [...wrong, `${where} ${way}: there is no RPC ${target}`];
        }
      }
    }
  }
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const file = path.relative(folder, path.join(entry.parentPath ?? entry.path, entry.name));
    if (entry.isFile() && !listed.has(file)) say(file, 'is in no component');
  }

  const kept = new Set(names(app.code('connection', 'goodword', 'params')));
  expressions('base', app.base, set('connection body statusCode'), { connection: kept });
  errors('base', app.base);

  for (const id of Object.keys(components.connection)) {
    const api = app.code('connection', id, 'communication');
    parameters(`connection ${id}`, app.code('connection', id, 'params'));
    request(`connection ${id}`, api, { inherits: false });
    expressions(`connection ${id}`, api, SEES.connection, { parameters: kept });
  }

  for (const id of Object.keys(components.webhook)) {
    const where = `webhook ${id}`;
    const params = app.code('webhook', id, 'params');
    const [attach, detach, incoming] = ['attach', 'detach', 'communication'].map((what) => app.code('webhook', id, what));
    const stored = new Set(Object.keys(attach.response.data));
    parameters(where, params);
    request(`${where} attach`, attach, { inherits: false });
    request(`${where} detach`, detach, { inherits: false });
    only(where, incoming, WEBHOOK);
    expressions(`${where} attach`, attach, SEES.attach, { connection: kept, parameters: new Set(names(params)), webhook: set('url') });
    expressions(`${where} detach`, detach, SEES.detach, { connection: kept, webhook: stored });
    expressions(where, incoming, SEES.incoming, { webhook: stored, data: stored });
  }

  for (const [id, { label, description, moduleType, actionCrud, connection, webhook }] of Object.entries(components.module)) {
    const where = `module ${id}`;
    const params = app.code('module', id, 'mappableParams', []);
    const fields = app.code('module', id, 'interface');
    if (!/^[A-Z]/.test(label)) say(where, 'the label is in title case');
    if (!/^[A-Z].*\.$/.test(description ?? '')) say(where, 'a description is a sentence');
    if ((moduleType === 'action') !== Boolean(actionCrud)) say(where, 'actions, and only they, say what they do (actionCrud)');
    if ((moduleType === 'instant_trigger') !== Boolean(webhook)) say(where, 'instant triggers, and only they, have a webhook');
    if ((moduleType === 'instant_trigger') === Boolean(connection)) say(where, 'every module but instant triggers has a connection');
    if (moduleType === 'search' && params.at(-1)?.name !== 'limit') say(where, 'a search has a limit');
    parameters(where, params);
    const api = app.code('module', id, 'communication');
    if (moduleType !== 'instant_trigger') {
      request(where, api, { inherits: true });
      expressions(where, api, SEES.module, { connection: kept, parameters: new Set(names(params)) });
    }
    fields.forEach((field) => parameter(`${where} interface`, field));
    const sample = app.code('module', id, 'samples');
    if (!sample) say(where, 'no sample');
    else wrong.push(...misfits(`${where} sample`, fields, sample));
  }

  for (const id of Object.keys(components.rpc)) {
    const api = app.code('rpc', id, 'communication');
    const params = app.code('rpc', id, 'params', []);
    request(`rpc ${id}`, api, { inherits: true });
    expressions(`rpc ${id}`, api, SEES.rpc, { connection: kept, parameters: new Set(names(params)) });
    // The form that calls it must have what it reads.
    for (const kind of ['webhook', 'module']) {
      for (const caller of Object.keys(components[kind])) {
        const form = app.code(kind, caller, kind === 'module' ? 'mappableParams' : 'params', []);
        if (![...strings(form)].some(([, text]) => text === `rpc://${id}`)) continue;
        for (const name of names(params)) {
          if (!names(form).includes(name)) say(`${kind} ${caller}`, `rpc://${id} asks for ${name}`);
          used.add(`${kind} ${caller} ${name}`);
        }
      }
    }
  }

  // What is asked for is used.
  for (const kind of ['webhook', 'module']) {
    for (const id of Object.keys(components[kind])) {
      for (const name of names(app.code(kind, id, kind === 'module' ? 'mappableParams' : 'params', []))) {
        if (!used.has(`${kind} ${id} ${name}`)) say(`${kind} ${id}`, `${name} is asked for and not used`);
      }
    }
  }

  const grouped = app.read(app.manifest.generalCodeFiles.groups).flatMap((group) => group.modules);
  for (const id of Object.keys(components.module)) if (grouped.filter((one) => one === id).length !== 1) say(`module ${id}`, 'is not in exactly one group');
  for (const id of grouped) if (!components.module[id]) say('groups', `there is no module ${id}`);

  return wrong;
}
