// Evaluates the part of IML, Make's expression language, that the app and the blueprints use. Make's own
// engine (@integromat/iml) cannot be installed from the public registry; this one follows its documentation, and
// refuses what it does not know, so that nothing is used here that was not looked at.
import crypto from 'node:crypto';

export class ImlError extends Error {}

const PRECEDENCE = { '|': 1, '&': 2, '=': 3, '!=': 3, '<': 4, '<=': 4, '>': 4, '>=': 4, '+': 5, '-': 5, '*': 6, '/': 6 };
const SPELLINGS = { '||': '|', '&&': '&', '===': '=', '==': '=', '!==': '!=' };
const OPERATORS = [...Object.keys(SPELLINGS), ...Object.keys(PRECEDENCE)].sort((a, b) => b.length - a.length);

/** Arguments are separated by `,` in the code of an app and by `;` in a scenario. */
export function parse(source, separator = ',') {
  let at = 0;
  const fail = (what) => {
    throw new ImlError(`${what} at ${at} in {{${source}}}`);
  };
  const rest = () => source.slice(at);
  const space = () => (at += /^\s*/.exec(rest())[0].length);
  const take = (pattern) => {
    const found = pattern.exec(rest());
    if (found) at += found[0].length;
    return found;
  };

  function expression(least = 1) {
    let left = unary();
    for (;;) {
      space();
      const spelled = OPERATORS.find((operator) => rest().startsWith(operator));
      const operator = SPELLINGS[spelled] ?? spelled;
      if (!spelled || PRECEDENCE[operator] < least) return left;
      at += spelled.length;
      left = { kind: 'operator', operator, left, right: expression(PRECEDENCE[operator] + 1) };
    }
  }

  function unary() {
    space();
    return take(/^!(?!=)/) ? { kind: 'not', of: unary() } : path(primary());
  }

  function primary() {
    space();
    let found;
    if (take(/^\(/)) {
      const inner = expression();
      space();
      return take(/^\)/) ? inner : fail(') expected');
    }
    if ((found = take(/^'([^'\\]*)'|^"([^"\\]*)"/))) return { kind: 'literal', value: found[1] ?? found[2] };
    // In a scenario, 1.email is the field of module 1's bundle.
    if (separator === ';' && (found = take(/^\d+(?=\.[A-Za-z_`])/))) return { kind: 'variable', name: found[0] };
    if ((found = take(/^\d+(\.\d+)?/))) return { kind: 'literal', value: Number(found[0]) };
    if ((found = take(/^[A-Za-z_]\w*/))) {
      const name = found[0];
      return take(/^\s*\(/) ? { kind: 'call', name, args: args() } : { kind: 'variable', name };
    }
    return fail(`unexpected ${JSON.stringify(source[at] ?? 'end')}`);
  }

  function args() {
    space();
    if (take(/^\)/)) return [];
    const list = [];
    for (;;) {
      list.push(expression());
      space();
      if (take(/^\)/)) return list;
      if (!take(separator === ',' ? /^,/ : /^;/)) fail(`${separator} or ) expected`);
    }
  }

  function path(of) {
    for (let found; ; ) {
      if ((found = take(/^\.(?:`([^`]+)`|([A-Za-z_]\w*(?:-\w+)*))/))) of = { kind: 'member', of, name: found[1] ?? found[2] };
      // Counted from 1; [] is the first.
      else if ((found = take(/^\[(\d*)\]/))) of = { kind: 'item', of, n: Number(found[1] || 1) };
      else return of;
    }
  }

  const whole = expression();
  space();
  return at < source.length ? fail(`unexpected ${JSON.stringify(rest())}`) : whole;
}

const empty = (value) => value === undefined || value === null || value === '';
const two = (number) => String(number).padStart(2, '0');

/** `if`, `ifempty` and `switch` evaluate only what they need; see `evaluate`. */
const LAZY = new Set(['if', 'ifempty', 'switch']);

const FUNCTIONS = {
  length: (value) => (empty(value) ? 0 : value.length),
  first: (list) => list?.[0],
  upper: (text) => (empty(text) ? text : String(text).toUpperCase()),
  join: (list, separator = ',') => (list ?? []).join(separator),
  contains: (text, search) => String(text ?? '').includes(search),
  replace: (text, search, by) => {
    const pattern = /^\/(.*)\/(\w*)$/.exec(search);
    return String(text ?? '').replaceAll(pattern ? new RegExp(pattern[1], pattern[2] + 'g') : search, by ?? '');
  },
  // map(list; key; filter key; filter values with commas)
  map: (list, key, filter, values) => {
    const wanted = filter && String(values).split(',');
    return (list ?? []).filter((item) => !filter || wanted.includes(String(member(item, filter)))).map((item) => member(item, key));
  },
  toCollection: (list, key, value) => Object.fromEntries((list ?? []).map((item) => [item[key], item[value]])),
  sha256: (text, encoding = 'hex', key, keyEncoding = 'text') => {
    if (key === undefined) return crypto.createHash('sha256').update(text).digest(encoding);
    return crypto.createHmac('sha256', Buffer.from(key, keyEncoding === 'text' ? 'utf8' : keyEncoding)).update(text).digest(encoding);
  },
  formatDate: (date, format, zone) => {
    if (format !== 'YYYY-MM-DDTHH:mm:ss[Z]' || zone !== 'UTC') throw new ImlError(`formatDate: only what the app uses is known here, not ${format} ${zone}`);
    const d = new Date(date);
    return `${d.getUTCFullYear()}-${two(d.getUTCMonth() + 1)}-${two(d.getUTCDate())}T${two(d.getUTCHours())}:${two(d.getUTCMinutes())}:${two(d.getUTCSeconds())}Z`;
  },
  parseDate: (text, format) => new Date(format === 'X' ? Number(text) * 1000 : text),
};
export const isFunction = (name) => LAZY.has(name) || Object.hasOwn(FUNCTIONS, name);

const KEYWORDS = { null: null, true: true, false: false, ignore: undefined };
export const isKeyword = (name) => Object.hasOwn(KEYWORDS, name);

function member(of, name) {
  return of === undefined || of === null || Array.isArray(of) ? undefined : of[name];
}

export function evaluate(node, variables) {
  const value = (of) => evaluate(of, variables);
  switch (node.kind) {
    case 'literal':
      return node.value;
    case 'not':
      return !value(node.of);
    case 'member':
      return member(value(node.of), node.name);
    case 'item': {
      const of = value(node.of);
      return Array.isArray(of) ? of[node.n - 1] : undefined;
    }
    case 'variable':
      if (isKeyword(node.name)) return KEYWORDS[node.name];
      if (!Object.hasOwn(variables, node.name)) throw new ImlError(`there is no variable ${node.name} here`);
      return variables[node.name];
    case 'call':
      return call(node, value);
    case 'operator':
      return operate(node, value);
  }
}

function call({ name, args }, value) {
  if (name === 'if') return value(args[0]) ? value(args[1]) : args[2] && value(args[2]);
  if (name === 'ifempty') {
    const first = value(args[0]);
    return empty(first) ? value(args[1]) : first;
  }
  if (name === 'switch') {
    const subject = String(value(args[0]));
    let n = 1;
    for (; n + 1 < args.length; n += 2) if (String(value(args[n])) === subject) return value(args[n + 1]);
    return args[n] && value(args[n]);
  }
  if (!Object.hasOwn(FUNCTIONS, name)) throw new ImlError(`there is no function ${name}`);
  return FUNCTIONS[name](...args.map(value));
}

function operate({ operator, left: l, right: r }, value) {
  const left = value(l);
  if (operator === '&') return left && value(r);
  if (operator === '|') return left || value(r);
  const right = value(r);
  switch (operator) {
    // Loose, however it is spelled.
    case '=':
      return left == right;
    case '!=':
      return left != right;
    case '<':
      return left < right;
    case '<=':
      return left <= right;
    case '>':
      return left > right;
    case '>=':
      return left >= right;
    case '+':
      return empty(left) ? right : empty(right) ? left : left + right;
    case '-':
      return left - right;
    case '*':
      return left * right;
    case '/':
      return left / right;
  }
}

/** `Total {{1.total}} EUR` in its parts: text, and the sources of the expressions. */
export function parts(text) {
  const found = [];
  for (let at = 0; at < text.length; ) {
    const from = text.indexOf('{{', at);
    if (from < 0) return [...found, { text: text.slice(at) }];
    const to = text.indexOf('}}', from);
    if (to < 0) throw new ImlError(`{{ without }} in ${text}`);
    if (from > at) found.push({ text: text.slice(at, from) });
    found.push({ source: text.slice(from + 2, to).trim() });
    at = to + 2;
  }
  return found;
}

/** A template with its expressions evaluated, wherever they are in it. What is undefined is left out of objects. */
export function transform(template, variables, separator = ',') {
  if (typeof template === 'string') {
    const found = parts(template);
    if (!found.some((part) => part.source !== undefined)) return template;
    const values = found.map((part) => (part.source === undefined ? part.text : evaluate(parse(part.source, separator), variables)));
    if (values.length === 1) return values[0];
    return values.map((value) => (value instanceof Date ? value.toISOString() : (value ?? ''))).join('');
  }
  if (Array.isArray(template)) return template.map((item) => transform(item, variables, separator));
  if (template === null || typeof template !== 'object') return template;
  const made = {};
  for (const [key, inner] of Object.entries(template)) {
    const value = transform(inner, variables, separator);
    if (key === '{{...}}') Object.assign(made, value);
    else if (value !== undefined) made[key] = value;
  }
  return made;
}
