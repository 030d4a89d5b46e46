// Runs the components of the app as Make does, against a real server. Make's own runtime is not published; this one
// follows its documentation for what the app uses: connections, modules with pagination, drop-downs, webhooks that are
// attached and detached, the errors, and the log with what is kept out of it.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { transform } from './iml.mjs';

export class MakeError extends Error {
  constructor(type, message) {
    super(message);
    this.type = type;
  }
}

const PAGES_MAX = 50;
const list = (value) => (value === undefined ? [] : [value].flat());

export class App {
  constructor(folder) {
    this.folder = folder;
    this.manifest = this.read('makecomapp.json');
    this.base = this.read(this.manifest.generalCodeFiles.base);
  }

  read(file) {
    return JSON.parse(readFileSync(path.join(this.folder, file), 'utf8'));
  }

  code(kind, id, what, otherwise) {
    const file = this.manifest.components[kind][id].codeFiles[what];
    return file ? this.read(file) : otherwise;
  }

  /** Every request that the components make, and every answer, as Make would log it. */
  log = [];

  // ---- what a user does

  /** A connection that is created, which asks the server who this is. */
  async connect(parameters) {
    const api = this.code('connection', 'goodword', 'communication');
    const { variables } = await this.request(api, { parameters });
    const answer = (what) => transform(api.response[what], variables);
    return { data: { ...parameters, ...answer('data') }, uid: answer('uid'), label: answer('metadata').value };
  }

  /** The bundles that a module puts out. */
  async module(id, connection, given = {}) {
    const parameters = await this.accept(this.code('module', id, 'mappableParams'), given, connection, id);
    return this.run(this.inherit(this.code('module', id, 'communication')), { connection, parameters });
  }

  /** The options of a drop-down, or the fields of a form. */
  async rpc(id, connection, parameters = {}) {
    return this.run(this.inherit(this.code('rpc', id, 'communication')), { connection, parameters });
  }

  /** A webhook that is created, with the address that Make made for it; what comes back is what Make keeps of it. */
  async attach(id, connection, url, given = {}) {
    const parameters = await this.accept(this.code('webhook', id, 'params'), given, connection, id);
    const api = this.code('webhook', id, 'attach');
    const { variables } = await this.request(api, { connection, parameters, webhook: { url } });
    return transform(api.response.data, variables);
  }

  async detach(id, connection, webhook) {
    await this.request(this.code('webhook', id, 'detach'), { connection, webhook });
  }

  /** A request that comes in at the hook. `kept` says under which names the expression sees what Make keeps. */
  incoming(id, request, kept) {
    const api = this.code('webhook', id, 'communication');
    const variables = { webhook: undefined, data: undefined, ...kept, body: request.body, headers: request.headers };
    if (transform(api.verification.condition, variables)) return { respond: transform(api.verification.respond, variables) };
    return { respond: { status: 200 }, bundle: transform(api.condition ?? true, variables) ? transform(api.output, variables) : undefined };
  }

  // ---- parameters

  /** What a user filled in, checked as the form does: nothing unknown, nothing missing, dates as dates. */
  async accept(params, given, connection, where) {
    const known = new Map();
    const fill = async (specs) => {
      for (const spec of specs) {
        known.set(spec.name, spec);
        await fill(await this.nested(spec, given, connection));
      }
    };
    await fill(params);
    for (const name of Object.keys(given)) if (!known.has(name)) throw new Error(`${where} has no parameter ${name} in this form`);
    const accepted = {};
    for (const [name, spec] of known) {
      const value = given[name] ?? spec.default;
      if (spec.required && (value === undefined || value === '')) throw new MakeError('BundleValidationError', `Missing value of required parameter '${name}'.`);
      accepted[name] = spec.type === 'date' && value !== undefined ? new Date(value) : value;
    }
    return accepted;
  }

  /** The fields that appear once an option was chosen. */
  async nested(spec, given, connection) {
    const chosen = given[spec.name] ?? spec.default;
    if (spec.type !== 'select' || chosen === undefined || typeof spec.options === 'string') return [];
    const nested = Array.isArray(spec.options) ? spec.options.find((option) => option.value === chosen)?.nested : spec.options.nested;
    if (typeof nested !== 'string') return list(nested);
    return this.rpc(nested.replace('rpc://', ''), connection, given);
  }

  // ---- requests

  /** Modules and drop-downs have what the base says; connections and webhooks do not. */
  inherit(api) {
    if (!api.url) return api;
    const { base } = this;
    return {
      ...base,
      ...api,
      headers: { ...base.headers, ...api.headers },
      response: { ...base.response, ...api.response },
      log: { sanitize: [...base.log.sanitize, ...list(api.log?.sanitize)] },
    };
  }

  async run(api, given) {
    const { response } = api;
    if (api.condition && !transform(api.condition.condition, given)) return api.condition.default;
    const limit = Number(transform(response.limit, given) ?? Infinity);
    // What is iterated, and which of it is taken.
    const { container, condition = true } = typeof response.iterate === 'string' ? { container: response.iterate } : (response.iterate ?? {});
    let bundles = [];
    let asked = api;
    for (let page = 1; page <= PAGES_MAX; page++) {
      const { variables } = await this.request(asked, given);
      if (!container) bundles.push(transform(response.output, variables));
      else {
        const items = (transform(container, variables) ?? []).map((item) => ({ ...variables, item }));
        bundles.push(...items.filter((each) => transform(condition, each)).map((each) => transform(response.output, each)));
      }
      if (bundles.length >= limit || !api.pagination || !transform(api.pagination.condition, variables)) break;
      asked = { ...api, qs: { ...api.qs, ...transform(api.pagination.qs, variables) } };
    }
    bundles = bundles.slice(0, limit);
    return response.wrapper ? transform(response.wrapper, { output: bundles }) : bundles;
  }

  async request(api, given) {
    const variables = { ...given };
    const part = (what) => transform(api[what], variables);
    const address = part('url');
    const url = new URL(/^https?:/.test(address) ? address : `${part('baseUrl')}/${address}`);
    // Make makes one slash of several, so that `/campaigns` and `campaigns` are the same in an API call.
    url.pathname = url.pathname.replace(/\/{2,}/g, '/');
    for (const [name, value] of Object.entries(part('qs') ?? {})) if (value !== null && value !== '') url.searchParams.append(name, value);
    const method = part('method');
    const headers = part('headers');
    let body = method === 'GET' ? undefined : part('body');
    if (body !== undefined && api.type !== 'text') {
      body = JSON.stringify(body);
      headers['content-type'] = 'application/json';
    }
    const answer = await fetch(url, { method, headers, body, redirect: 'manual' });
    const raw = await answer.text();
    Object.assign(variables, { statusCode: answer.status, headers: Object.fromEntries(answer.headers) });
    variables.body = this.parse(raw, api.response.type, answer);
    this.keep(api, { request: { url: url.href, method, headers, body }, response: { statusCode: answer.status, headers: variables.headers, body: variables.body } });
    if (answer.status >= 400) {
      const { message, type } = api.response.error[answer.status] ?? api.response.error;
      throw new MakeError(type, transform(message, variables));
    }
    const { valid } = api.response;
    if (valid && !transform(valid.condition, variables)) throw new MakeError(valid.type, transform(valid.message, variables));
    return { variables };
  }

  parse(raw, types, answer) {
    const range = Object.keys(types).find((one) => {
      const [from, to = from] = one.split('-').map(Number);
      return answer.status >= from && answer.status <= to;
    });
    const type = types[range ?? '*'];
    // What `automatic` makes of application/problem+json is nowhere said: the app must not depend on it.
    const isJson = /^application\/json\b/.test(answer.headers.get('content-type') ?? '');
    if (type === 'automatic' && (!isJson || raw === '')) return raw;
    try {
      return JSON.parse(raw);
    } catch {
      throw new MakeError('DataError', `[${answer.status}] The answer is not JSON: ${raw.slice(0, 100)}`);
    }
  }

  keep(api, entry) {
    const copy = JSON.parse(JSON.stringify(entry));
    for (const hidden of api.log.sanitize) {
      const way = hidden.split('.');
      const last = way.pop();
      const holder = way.reduce((value, name) => value?.[name], copy);
      if (holder && typeof holder === 'object' && last in holder) holder[last] = '<secret>';
    }
    this.log.push(copy);
  }
}
