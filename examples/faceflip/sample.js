const testData = {
    urls: [
        "https://ark-project.tos-cn-beijing.volces.com/doc_image/seedream4_imagesToimages_1.png",
        "https://ark-project.tos-cn-beijing.volces.com/doc_image/seedream4_imagesToimages_2.png"
    ],
    task_id: crypto.getRandomValues(new Uint32Array(4)).join('-') // randomUUID 只在 https 页面可用
};
const { data: { session } } = await supabase.auth.getSession();

// 发送POST请求获取SSE流
fetch('/api/v1/faceflip/generate/stream', {
    method: 'POST',
    headers: {
        'Content-Type': 'application/json',
        Authorization: `Bearer ${session?.access_token}`,
    },
    body: JSON.stringify(testData)
})
.then(response => {
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let waiting = '';
    let ended = false;

    function readStream() {
        return reader.read().then(({ done, value }) => {
            if (done) {
                if (!ended) throw new Error('连接中断，图片不完整');
                console.log('流结束');
                return;
            }

            waiting += decoder.decode(value, { stream: true });
            const lines = waiting.split('\n');
            waiting = lines.pop();

            lines.forEach(line => {
                if (line.startsWith('event:')) {
                    const eventType = line.slice('event:'.length).trim();
                    console.log('事件类型:', eventType);
                } else if (line.startsWith('data:')) {
                    const data = line.slice('data:'.length).trim();
                    try {
                        const parsedData = JSON.parse(data);
                        console.log('事件数据:', parsedData);

                        // 处理不同事件类型
                        switch (parsedData.event) {
                            case 'start':
                                console.log('开始生成图像');
                                break;
                            case 'process':
                                console.log('正在处理...');
                                break;
                            case 'done':
                                ended = true;
                                console.log('生成完成:', parsedData.data);
                                break;
                            case 'error':
                                ended = true;
                                console.error('生成失败:', parsedData.data.error);
                                break;
                        }
                    } catch (e) {
                        console.log('原始数据:', data);
                    }
                }
            });

            return readStream();
        });
    }

    return readStream();
})
.catch(error => {
    console.error('请求失败:', error);
});
