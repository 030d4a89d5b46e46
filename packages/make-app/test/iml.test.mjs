// The evaluator, held against what Make's documentation says of IML.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { ImlError, parse, transform } from './iml.mjs';

const variables = {
  a: 5,
  none: null,
  empty: '',
  person: { name: 'Maya', 'x-y': 1 },
  list: [{ type: 'email', email: 'maya@example.com' }, { type: 'number', number: 5 }],
};
const value = (source) => transform(`{{${source}}}`, variables);

for (const [source, expected] of [
  ['1 + 2 * 3', 7],
  ['(1 + 2) * 3', 9],
  ["'n' + a", 'n5'],
  ['none + a', 5],
  ["a = '5'", true],
  ["a === '5'", true],
  ['a != 5 || a > 4 && a <= 5', true],
  ['!a', false],
  ['person.name', 'Maya'],
  ['person.x-y', 1],
  ['person.`x-y`', 1],
  ['person.nobody.name', undefined],
  ['list[1].email', 'maya@example.com'],
  ['list[].email', 'maya@example.com'],
  ['list[2].number', 5],
  ['list[0]', undefined],
  ['list.email', undefined],
  ["if(a > 4, 'more', 'less')", 'more'],
  ['if(a > 9, nobody.knows)', undefined],
  ["contains('a b', 'b')", true],
  ["contains(none, 'b')", false],
  ["ifempty(empty, 'x')", 'x'],
  ["ifempty(none, 'x')", 'x'],
  ['ifempty(0, 1)', 0],
  ["switch(a, 4, 'four', 5, 'five', 'other')", 'five'],
  ["switch(9, 4, 'four', 'other')", 'other'],
  ['length(list)', 2],
  ['length(none)', 0],
  ["first(map(list, 'email', 'type', 'email'))", 'maya@example.com'],
  ["replace('a-b-a', 'a', 'c')", 'c-b-c'],
  ["replace('https://x//', '/[/]+$/', '')", 'https://x'],
  ['ignore', undefined],
  ["sha256('x', 'hex', 'a2V5', 'base64')", createHmac('sha256', 'key').update('x').digest('hex')],
]) {
  test(source, () => assert.deepEqual(value(source), expected));
}

test('text around expressions, and what is undefined left out', () => {
  assert.equal(transform('{{a}} of {{none}}{{person.name}}', variables), '5 of Maya');
  assert.deepEqual(transform({ a: '{{a}}', b: '{{ignore}}', c: '{{none}}', '{{...}}': '{{person}}' }, variables), { a: 5, c: null, name: 'Maya', 'x-y': 1 });
});

test('in a scenario: semicolons, and the fields of modules', () => {
  const scenario = { 1: { email: '', customer: { email: 'maya@example.com' } } };
  assert.equal(transform('{{ifempty(1.email; 1.customer.email)}}', scenario, ';'), 'maya@example.com');
  assert.throws(() => parse('ifempty(1.email, 2)', ';'), ImlError);
});

for (const wrong of ['', 'a +', "'open", 'f(a', 'a b', "['a']", '{a: 1}', "'a\\n'", 'list[x]']) {
  test(`refused: ${wrong}`, () => assert.throws(() => parse(wrong), ImlError));
}
test('refused: a variable or a function that there is not', () => {
  assert.throws(() => value('nobody'), /there is no variable nobody/);
  assert.throws(() => value('nothing(a)'), /there is no function nothing/);
});
