import { lint } from './lint.mjs';
const wrong = lint(new URL('../app', import.meta.url).pathname);
console.log(wrong.join('\n') || 'nothing wrong');
