const zh = {
  title: '图片生成',
  other: 'English',
  email: '邮箱',
  password: '密码',
  signIn: '登录',
  signUp: '注册',
  signOut: '退出',
  prompt: '想要什么图片？',
  example: '海边的婚纱照，黄昏',
  photos: '参考照片（最多 3 张，会自动缩小）',
  generate: '生成',
  retry: '重试',
  cancel: '停止',
  download: '下载',
  connecting: '连接中…',
  streaming: '生成中…',
  parsing: '处理中…',
  completed: '完成',
  error: '失败',
  received: (kb: number) => `已收到 ${kb} KB`,
};

export type Texts = typeof zh;

const en: Texts = {
  title: 'Image generation',
  other: '中文',
  email: 'E-mail',
  password: 'Password',
  signIn: 'Sign in',
  signUp: 'Sign up',
  signOut: 'Sign out',
  prompt: 'Which picture?',
  example: 'a wedding photo by the sea, at dusk',
  photos: 'Reference photos (at most 3, scaled down)',
  generate: 'Generate',
  retry: 'Retry',
  cancel: 'Stop',
  download: 'Download',
  connecting: 'Connecting…',
  streaming: 'Generating…',
  parsing: 'Finishing…',
  completed: 'Done',
  error: 'Failed',
  received: (kb: number) => `${kb} KB received`,
};

export const texts = { zh, en };
export type Language = keyof typeof texts;
